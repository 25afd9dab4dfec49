//! What the product is measured against.

pub mod plain;
pub mod serde;
