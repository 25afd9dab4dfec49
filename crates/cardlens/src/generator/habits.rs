//! What people buy: habits that everyone has, and those that show a need.
//!
//! Plain tables. Rates, tickets and rhythms are judgement, chosen so that a need shows as it does
//! in real feeds: more often and at more merchants than with others, never at one stroke.

use cardlens_model::Channel;

/// When in the week and in the day something is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum When {
    /// Shops: all week, more on Saturdays.
    Shopping,
    /// On the way to work and back.
    Commute,
    /// Meals and evenings out, more from Friday to Sunday.
    Out,
    /// From the sofa, into the night.
    Evening,
    /// In office hours of working days.
    Office,
}

impl When {
    /// Weight of each weekday from Monday on, in hundredths.
    pub const WEEKDAYS: [[u32; 7]; 5] = [
        [85, 85, 90, 95, 115, 150, 80],
        [130, 135, 135, 130, 120, 30, 20],
        [70, 75, 80, 100, 135, 145, 95],
        [100, 100, 100, 95, 90, 100, 115],
        [130, 135, 135, 130, 120, 30, 20],
    ];
    /// Hours of the day, each as likely as any.
    pub const HOURS: [[u8; 16]; 5] = [
        [9, 10, 10, 11, 11, 12, 13, 14, 15, 16, 16, 17, 17, 18, 18, 19],
        [6, 7, 7, 7, 8, 8, 8, 9, 16, 17, 17, 17, 18, 18, 18, 19],
        [11, 12, 12, 13, 13, 14, 18, 19, 19, 19, 20, 20, 20, 21, 21, 22],
        [12, 16, 18, 19, 19, 20, 20, 21, 21, 21, 22, 22, 22, 23, 23, 0],
        [8, 9, 9, 10, 10, 10, 11, 11, 12, 13, 14, 14, 15, 15, 16, 17],
    ];
}

/// Something bought again and again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habit {
    /// Merchant category codes, one of which each purchase has.
    pub mccs: &'static [u16],
    /// How often in a thousand weeks.
    pub per_1000_weeks: u32,
    /// Half of the tickets are below, in minor units.
    pub median: u32,
    pub when: When,
    /// Of a hundred, bought online.
    pub online: u32,
    /// Merchants there are to choose from.
    pub merchants: u32,
}

/// Something billed every month.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bill {
    pub mcc: u16,
    pub median: u32,
    /// Of a hundred customers, those who have it.
    pub customers: u32,
}

const fn habit(
    mccs: &'static [u16],
    per_1000_weeks: u32,
    median: u32,
    when: When,
    (online, merchants): (u32, u32),
) -> Habit {
    Habit { mccs, per_1000_weeks, median, when, online, merchants }
}

use When::{Commute, Evening, Office, Out, Shopping};

/// Of everyone.
pub(super) const BASE: [Habit; 14] = [
    habit(&[5411], 1_500, 4_200, Shopping, (8, 300)),
    habit(&[5814], 350, 1_200, Out, (15, 900)),
    habit(&[5812], 260, 3_400, Out, (2, 2_000)),
    habit(&[5541, 5542], 120, 4_300, Commute, (0, 500)),
    habit(&[5311, 5399, 5964], 380, 3_600, Evening, (70, 200)),
    habit(&[5651, 5691, 5661], 130, 5_200, Shopping, (35, 400)),
    habit(&[5912], 120, 1_700, Shopping, (5, 200)),
    habit(&[5200, 5712], 35, 5_500, Shopping, (20, 150)),
    habit(&[4121], 90, 1_900, Out, (30, 60)),
    habit(&[5942, 5945], 50, 2_200, Shopping, (40, 150)),
    habit(&[7230, 5977], 80, 3_100, Shopping, (5, 500)),
    habit(&[8011, 8021], 40, 6_500, Office, (0, 300)),
    habit(&[7832, 7922], 60, 2_600, Out, (50, 120)),
    habit(&[5732], 20, 14_000, Evening, (60, 60)),
];

/// Of everyone who has it.
pub(super) const BILLS: [Bill; 6] = [
    Bill { mcc: 4814, median: 5_500, customers: 95 },
    Bill { mcc: 4900, median: 9_500, customers: 85 },
    Bill { mcc: 4899, median: 1_300, customers: 60 },
    Bill { mcc: 6300, median: 7_800, customers: 55 },
    Bill { mcc: 5815, median: 1_000, customers: 30 },
    Bill { mcc: 7997, median: 3_500, customers: 6 },
];

/// A need that the demo knows to be there, with the habits that show it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// The name that the default rule set gives it.
    pub name: &'static str,
    /// Of a hundred customers, those who have it from the start.
    pub customers: u32,
    pub habits: &'static [Habit],
    pub bills: &'static [Bill],
}

/// Places of needs that more than their habits depends on.
pub(super) const TRAVEL: usize = 0;
pub(super) const CHILDREN: usize = 1;
pub(super) const PETS: usize = 2;
pub(super) const DRIVING: usize = 3;
pub(super) const TRANSIT: usize = 4;
pub(super) const HOME: usize = 5;
pub(super) const ACTIVE: usize = 7;
pub(super) const STUDY: usize = 9;
pub(super) const PRACTICE: usize = 10;
pub(super) const SMOOTHING: usize = 11;

/// Every need, by its place.
pub(super) const NEEDS: [Need; 12] = [
    Need {
        name: "leisure_travel",
        customers: 12,
        habits: &[
            habit(&[4722, 7011], 60, 22_000, Evening, (85, 80)),
            habit(&[7991, 5309], 30, 4_500, Shopping, (20, 60)),
        ],
        bills: &[],
    },
    Need {
        name: "family_children",
        customers: 20,
        habits: &[
            habit(&[5641], 500, 3_800, Shopping, (30, 60)),
            habit(&[5945], 300, 2_900, Shopping, (45, 50)),
            habit(&[5943, 5942], 200, 1_900, Shopping, (20, 60)),
            habit(&[5411], 700, 6_200, Shopping, (10, 300)),
            habit(&[8211], 90, 9_000, Office, (20, 40)),
        ],
        bills: &[Bill { mcc: 8351, median: 42_000, customers: 55 }],
    },
    Need {
        name: "pets",
        customers: 22,
        habits: &[
            habit(&[5995], 650, 3_300, Shopping, (35, 8)),
            habit(&[742], 110, 8_500, Office, (0, 5)),
        ],
        bills: &[],
    },
    Need {
        name: "driving",
        customers: 28,
        habits: &[
            habit(&[5541, 5542], 1_500, 4_600, Commute, (0, 40)),
            habit(&[7523], 900, 700, Commute, (20, 40)),
            habit(&[4784], 700, 450, Commute, (30, 5)),
            habit(&[7538, 5533, 5532], 60, 16_000, Office, (5, 60)),
        ],
        bills: &[],
    },
    Need {
        name: "public_transit",
        customers: 20,
        habits: &[
            habit(&[4111], 5_000, 290, Commute, (25, 4)),
            habit(&[4112, 4131], 350, 2_600, Commute, (70, 6)),
        ],
        bills: &[],
    },
    Need {
        name: "home_making",
        customers: 9,
        habits: &[
            habit(&[5200, 5211, 5251], 1_100, 6_800, Shopping, (15, 60)),
            habit(&[5712, 5722, 5719], 420, 21_000, Shopping, (40, 60)),
            habit(&[1799, 780], 90, 38_000, Office, (0, 60)),
        ],
        bills: &[],
    },
    Need {
        name: "eating_out",
        customers: 16,
        habits: &[
            habit(&[5812], 2_600, 4_100, Out, (3, 2_500)),
            habit(&[5813], 700, 2_300, Out, (0, 700)),
            habit(&[7922, 7941], 150, 6_500, Out, (70, 60)),
        ],
        bills: &[],
    },
    Need {
        name: "active_living",
        customers: 14,
        habits: &[
            habit(&[5941, 5940], 350, 4_900, Shopping, (40, 80)),
            habit(&[7997], 300, 1_800, Evening, (20, 12)),
        ],
        bills: &[Bill { mcc: 7997, median: 5_200, customers: 90 }],
    },
    Need {
        name: "digital_life",
        customers: 18,
        habits: &[
            habit(&[5815, 5816, 5817, 5818], 1_700, 900, Evening, (100, 40)),
            habit(&[5734, 5732], 260, 9_000, Evening, (80, 50)),
            habit(&[5964, 5968], 500, 3_400, Evening, (100, 120)),
        ],
        bills: &[
            Bill { mcc: 4816, median: 4_900, customers: 80 },
            Bill { mcc: 4899, median: 1_600, customers: 90 },
            Bill { mcc: 5968, median: 1_100, customers: 90 },
        ],
    },
    Need {
        name: "study",
        customers: 9,
        habits: &[
            habit(&[5942, 5943], 450, 2_100, Shopping, (45, 60)),
            habit(&[8220, 8299], 100, 21_000, Office, (70, 12)),
            habit(&[5814], 1_000, 900, Out, (15, 300)),
        ],
        bills: &[],
    },
    Need {
        name: "professional_practice",
        customers: 6,
        habits: &[
            habit(&[5046, 5045, 5044], 300, 19_000, Office, (60, 40)),
            habit(&[5021, 5085, 5111], 420, 9_500, Office, (50, 40)),
            habit(&[7311, 7372, 7379, 7392, 7399], 500, 12_000, Office, (80, 60)),
            habit(&[9402, 4215], 350, 1_500, Office, (20, 8)),
        ],
        bills: &[],
    },
    Need {
        name: "payment_smoothing",
        customers: 10,
        habits: &[habit(&[6011], 700, 12_000, Shopping, (0, 40))],
        bills: &[],
    },
];

/// What is bought while travelling, a week's rate.
pub(super) const TRIP: [Habit; 5] = [
    habit(&[5812], 8_000, 4_300, Out, (0, 3_000)),
    habit(&[7011], 1_400, 28_000, Evening, (10, 400)),
    habit(&[4121, 4111], 3_000, 1_400, Out, (10, 300)),
    habit(&[5309, 7991, 7996], 2_500, 3_600, Shopping, (10, 300)),
    habit(&[5411], 1_500, 2_400, Shopping, (0, 400)),
];

/// A foreign country: its code, its currency, and a thousand times what one minor unit of the
/// reporting currency is worth in its minor units.
pub(super) const ABROAD: [(&str, &str, u64); 9] = [
    ("FR", "EUR", 920),
    ("ES", "EUR", 920),
    ("IT", "EUR", 920),
    ("DE", "EUR", 920),
    ("GB", "GBP", 790),
    ("MX", "MXN", 17_400),
    ("CA", "CAD", 1_370),
    ("JP", "JPY", 1_490),
    ("TH", "THB", 35_200),
];

/// Channels of purchases that are not online.
pub(super) const OFFLINE: [Channel; 8] = [
    Channel::InPerson,
    Channel::InPerson,
    Channel::InPerson,
    Channel::InPerson,
    Channel::InPerson,
    Channel::InPerson,
    Channel::InPerson,
    Channel::Remote,
];
