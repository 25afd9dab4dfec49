//! Merchant category codes that say more about a person than an issuer should use.

/// Codes that are mapped to the category `withheld` unless the privacy configuration says
/// otherwise: religion, politics, charity, associations, health, dating, counselling, massage,
/// courts and fines, gambling, pawn. Their amounts count in value and nowhere else.
pub const WITHHELD_DEFAULT: [u16; 33] = [
    4119, 5047, 5122, 5912, 5933, 5975, 5976, 7273, 7277, 7297, 7800, 7801, 7802, 7995, 8011, 8021,
    8031, 8041, 8042, 8043, 8049, 8050, 8062, 8071, 8099, 8398, 8641, 8651, 8661, 8699, 9211, 9222,
    9223,
];

/// Codes that may be used and deserve a second look: alcohol and tobacco, legal services, credit
/// reports, children and schools, quasi-cash, tax preparation, adult content.
pub const REVIEW: [u16; 11] = [5641, 5813, 5921, 5967, 5993, 6051, 7276, 7321, 8111, 8211, 8351];
