//! The rule set that comes with cardlens, embedded.

/// Names and texts of the files of `deploy/rules`.
pub(crate) const DEFAULT: &[(&str, &str)] = &[
    ("categories.toml", include_str!("../../../deploy/rules/categories.toml")),
    ("lifecycle.toml", include_str!("../../../deploy/rules/lifecycle.toml")),
    ("rules.toml", include_str!("../../../deploy/rules/rules.toml")),
    ("tiers.toml", include_str!("../../../deploy/rules/tiers.toml")),
    ("value.toml", include_str!("../../../deploy/rules/value.toml")),
];
