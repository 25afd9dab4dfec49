//! The rule set that comes with cardlens, embedded.

/// Names and texts of the files of `deploy/rules`.
pub(crate) const DEFAULT: &[(&str, &str)] = &[
    ("active_living.toml", include_str!("../../../deploy/rules/active_living.toml")),
    ("business_travel.toml", include_str!("../../../deploy/rules/business_travel.toml")),
    ("categories.toml", include_str!("../../../deploy/rules/categories.toml")),
    ("digital_life.toml", include_str!("../../../deploy/rules/digital_life.toml")),
    ("driving.toml", include_str!("../../../deploy/rules/driving.toml")),
    ("eating_out.toml", include_str!("../../../deploy/rules/eating_out.toml")),
    ("family_children.toml", include_str!("../../../deploy/rules/family_children.toml")),
    ("home_making.toml", include_str!("../../../deploy/rules/home_making.toml")),
    (
        "household_provisioning.toml",
        include_str!("../../../deploy/rules/household_provisioning.toml"),
    ),
    ("leisure_travel.toml", include_str!("../../../deploy/rules/leisure_travel.toml")),
    ("lifecycle.toml", include_str!("../../../deploy/rules/lifecycle.toml")),
    ("payment_smoothing.toml", include_str!("../../../deploy/rules/payment_smoothing.toml")),
    ("pets.toml", include_str!("../../../deploy/rules/pets.toml")),
    (
        "professional_practice.toml",
        include_str!("../../../deploy/rules/professional_practice.toml"),
    ),
    ("public_transit.toml", include_str!("../../../deploy/rules/public_transit.toml")),
    ("rules.toml", include_str!("../../../deploy/rules/rules.toml")),
    ("simplicity.toml", include_str!("../../../deploy/rules/simplicity.toml")),
    ("study.toml", include_str!("../../../deploy/rules/study.toml")),
    ("style.toml", include_str!("../../../deploy/rules/style.toml")),
    ("tiers.toml", include_str!("../../../deploy/rules/tiers.toml")),
    ("value.toml", include_str!("../../../deploy/rules/value.toml")),
    ("value_control.toml", include_str!("../../../deploy/rules/value_control.toml")),
];
