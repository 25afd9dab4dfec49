//! The figures from which a customer's margin is computed.

use crate::{Category, Channel};

/// Interchange earned on purchases of some categories through some channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Of this category; of any other when absent.
    pub category: Option<Category>,
    /// Through this channel; through any other when absent.
    pub channel: Option<Channel>,
    /// Hundredths of a percent of the net amount.
    pub basis_points: i32,
}

/// The value model of a rule set. All money in minor units of the reporting currency, all rates in
/// basis points (1/100 %), all arithmetic in integers.
///
/// `margin = net purchases x interchange - rewards + interest + fees + cash x cash fee
///           - balance x funding - balance x expected loss - service cost`, over 365 days.
/// The average balance is taken from interest when the input has interest records
/// (`interest / apr`), and is 0 otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValueModel {
    /// The first that fits applies; a purchase that none fits earns nothing.
    pub interchange: Vec<Rate>,
    /// Of net purchases, given back.
    pub rewards_basis_points: i32,
    /// Of cash advances, earned beside the fee records of the input.
    pub cash_basis_points: i32,
    /// Yearly rate at which customers pay interest; 0 when unknown.
    pub apr_basis_points: i32,
    /// Yearly cost of the money lent.
    pub funding_basis_points: i32,
    /// Yearly expected loss on the money lent.
    pub loss_basis_points: i32,
    /// Yearly cost of serving a customer.
    pub service_minor: i64,
}
