//! What a ticket carries: a number, a query, and the values of its parameters.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::front::{Fault, State};

/// A query on its way through a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handle {
    /// By which it is cancelled.
    pub(super) number: u64,
    /// The query.
    pub(super) query: String,
    /// Values of parameters, as an Arrow stream.
    pub(super) values: Bytes,
}

impl Handle {
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(12 + self.query.len() + self.values.len());
        bytes.put_u64(self.number);
        bytes.put_u32(u32::try_from(self.query.len()).unwrap_or(u32::MAX));
        bytes.put_slice(self.query.as_bytes());
        bytes.put_slice(&self.values);
        bytes.freeze()
    }

    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, Fault> {
        let broken = || Fault::new(State::NoStatement, "the handle is none of this server");
        let number = bytes.try_get_u64().map_err(|_| broken())?;
        let length = bytes.try_get_u32().map_err(|_| broken())?;
        let length = usize::try_from(length).map_err(|_| broken())?;
        if length > bytes.len() {
            return Err(broken());
        }
        let query = bytes.split_to(length);
        let query = String::from_utf8(query.to_vec()).map_err(|_| broken())?;
        Ok(Self { number, query, values: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_come_back() {
        let values = Bytes::from_static(b"values");
        let handle = Handle { number: 7, query: "select 'ä'".into(), values };
        assert_eq!(Handle::decode(handle.encode()).unwrap(), handle);
        for length in 0..12 {
            assert!(Handle::decode(handle.encode().slice(..length)).is_err());
        }
    }
}
