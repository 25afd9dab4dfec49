//! Words for kinds and channels.

use cardlens_model::{Channel, Kind};

/// What a channel or an entry mode says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChannelMark {
    pub(crate) channel: Channel,
    pub(crate) recurring: bool,
}

impl ChannelMark {
    /// Nothing.
    pub(crate) const UNSAID: Self = Self { channel: Channel::Unknown, recurring: false };

    const fn through(channel: Channel) -> Self {
        Self { channel, recurring: false }
    }
}

/// The kind of one of our names.
pub(crate) fn kind_of(text: &[u8]) -> Option<Kind> {
    Some(match text {
        b"purchase" => Kind::Purchase,
        b"authorization" => Kind::Authorization,
        b"refund" => Kind::Refund,
        b"reversal" => Kind::Reversal,
        b"cash" => Kind::Cash,
        b"payment" => Kind::Payment,
        b"fee" => Kind::Fee,
        b"interest" => Kind::Interest,
        b"chargeback" => Kind::Chargeback,
        _ => return None,
    })
}

/// The meaning of a channel: our names and the words that feeds commonly use, in lower case.
pub(crate) fn channel_of(text: &[u8]) -> Option<ChannelMark> {
    Some(match text {
        b"in_person" | b"pos" | b"card_present" | b"cp" | b"chip transaction"
        | b"swipe transaction" => ChannelMark::through(Channel::InPerson),
        b"online"
        | b"ecom"
        | b"ecommerce"
        | b"e-commerce"
        | b"card_not_present"
        | b"cnp"
        | b"online transaction" => ChannelMark::through(Channel::Online),
        b"remote" | b"moto" | b"mail_order" | b"telephone_order" | b"phone" => {
            ChannelMark::through(Channel::Remote)
        }
        b"atm" => ChannelMark::through(Channel::Atm),
        b"recurring" => ChannelMark { channel: Channel::Online, recurring: true },
        b"unknown" => ChannelMark::UNSAID,
        _ => return None,
    })
}

/// The meaning of an entry mode: how the card or its credential was read, in lower case.
pub(crate) fn entry_of(text: &[u8]) -> Option<ChannelMark> {
    Some(match text {
        b"chip" | b"contactless" | b"swipe" | b"magstripe" | b"tap" => {
            ChannelMark::through(Channel::InPerson)
        }
        b"credential_on_file" | b"wallet_online" => ChannelMark::through(Channel::Online),
        b"manual" | b"keyed" => ChannelMark::through(Channel::Remote),
        _ => return channel_of(text),
    })
}
