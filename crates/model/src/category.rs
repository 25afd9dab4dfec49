//! Spend categories and the table from merchant category codes to them.

/// The code of a record that carries no usable MCC.
pub const MCC_NONE: u16 = u16::MAX;

/// A spend category of the rule set, by its place in [`CategoryTable`]. At most 62 are named by
/// rules; the last two are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Category(pub u8);

impl Category {
    /// Sensitive merchants: counted in value and in nothing else.
    pub const WITHHELD: Self = Self(62);
    /// Of records that are no spending: payments, fees, interest.
    pub const NONE: Self = Self(63);
    /// Categories are below this number.
    pub const COUNT: usize = 64;
}

/// Which category a merchant category code belongs to, and what categories are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryTable {
    names: Vec<String>,
    by_mcc: Vec<Category>,
    cash: Category,
    other: Category,
}

impl CategoryTable {
    /// Name of the category that every cash advance belongs to, whatever its MCC.
    pub const CASH: &'static str = "cash_advance";
    /// Name of the category of an absent, invalid or unmapped MCC.
    pub const OTHER: &'static str = "other";
    /// Name under which withheld spending is reported.
    pub const WITHHELD: &'static str = "withheld";
    /// Most categories that a rule set may name.
    pub const NAMES_MAX: usize = 62;

    /// Builds the table from `(lowest MCC, highest MCC, category name)` ranges; codes that no
    /// range covers are `other`, codes in `withheld` are withheld whatever the ranges say. The
    /// order of the names is that of first use, with `cash_advance` and `other` added when absent.
    ///
    /// # Errors
    /// A sentence for each range that is out of order, overlaps an earlier one or names one
    /// category too many.
    pub fn new(ranges: &[(u16, u16, &str)], withheld: &[u16]) -> Result<Self, Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        let mut by_mcc: Vec<Option<Category>> = vec![None; 10_000];
        let mut problems = Vec::new();
        let always = [(10_000, 10_000, Self::CASH), (10_000, 10_000, Self::OTHER)];
        for &(low, high, name) in ranges.iter().chain(&always) {
            let place = names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            let Some(category) = u8::try_from(place).ok().filter(|_| place < Self::NAMES_MAX)
            else {
                problems.push(format!("more than {} categories", Self::NAMES_MAX));
                break;
            };
            if low == 10_000 {
                continue;
            }
            if low > high || high > 9_999 {
                problems.push(format!("range {low:04}-{high:04} of `{name}` is not ascending"));
                continue;
            }
            for slot in &mut by_mcc[usize::from(low)..=usize::from(high)] {
                if slot.replace(Category(category)).is_some() {
                    problems.push(format!("range {low:04}-{high:04} of `{name}` overlaps another"));
                    break;
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let find = |name: &str| {
            let place = names.iter().position(|known| known == name).unwrap_or_default();
            Category(u8::try_from(place).unwrap_or_default())
        };
        let (cash, other) = (find(Self::CASH), find(Self::OTHER));
        let mut by_mcc: Vec<Category> = by_mcc.into_iter().map(|c| c.unwrap_or(other)).collect();
        for &mcc in withheld.iter().filter(|mcc| **mcc < 10_000) {
            by_mcc[usize::from(mcc)] = Category::WITHHELD;
        }
        Ok(Self { names, by_mcc, cash, other })
    }

    /// The category of a code; `other` for [`MCC_NONE`] and anything beyond 9999.
    #[must_use]
    pub fn of(&self, mcc: u16) -> Category {
        self.by_mcc.get(usize::from(mcc)).copied().unwrap_or(self.other)
    }

    /// The category of cash advances.
    #[must_use]
    pub fn cash(&self) -> Category {
        self.cash
    }

    /// What a category is called.
    #[must_use]
    pub fn name(&self, category: Category) -> &str {
        if category == Category::WITHHELD {
            return Self::WITHHELD;
        }
        self.names.get(usize::from(category.0)).map_or("none", String::as_str)
    }

    /// The category of that name, `withheld` excepted.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Category> {
        let place = self.names.iter().position(|known| known == name)?;
        u8::try_from(place).ok().map(Category)
    }

    /// Names in order of their category, without the reserved ones.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}
