//! Countries: from the codes of ISO 3166-1 to the numbers that ledgers keep.
//!
//! The number of a country is its place in the list below, from 1; 0 is "not said". Numbers are
//! stored in snapshots, so the list only ever grows at its end.

use cardlens_model::Country;

/// Alpha-2, alpha-3 and numeric code, eight characters and a space each.
const CODES: &[u8] = b"\
    ADAND020 AEARE784 AFAFG004 AGATG028 AIAIA660 ALALB008 AMARM051 AOAGO024 \
    AQATA010 ARARG032 ASASM016 ATAUT040 AUAUS036 AWABW533 AXALA248 AZAZE031 \
    BABIH070 BBBRB052 BDBGD050 BEBEL056 BFBFA854 BGBGR100 BHBHR048 BIBDI108 \
    BJBEN204 BLBLM652 BMBMU060 BNBRN096 BOBOL068 BQBES535 BRBRA076 BSBHS044 \
    BTBTN064 BVBVT074 BWBWA072 BYBLR112 BZBLZ084 CACAN124 CCCCK166 CDCOD180 \
    CFCAF140 CGCOG178 CHCHE756 CICIV384 CKCOK184 CLCHL152 CMCMR120 CNCHN156 \
    COCOL170 CRCRI188 CUCUB192 CVCPV132 CWCUW531 CXCXR162 CYCYP196 CZCZE203 \
    DEDEU276 DJDJI262 DKDNK208 DMDMA212 DODOM214 DZDZA012 ECECU218 EEEST233 \
    EGEGY818 EHESH732 ERERI232 ESESP724 ETETH231 FIFIN246 FJFJI242 FKFLK238 \
    FMFSM583 FOFRO234 FRFRA250 GAGAB266 GBGBR826 GDGRD308 GEGEO268 GFGUF254 \
    GGGGY831 GHGHA288 GIGIB292 GLGRL304 GMGMB270 GNGIN324 GPGLP312 GQGNQ226 \
    GRGRC300 GSSGS239 GTGTM320 GUGUM316 GWGNB624 GYGUY328 HKHKG344 HMHMD334 \
    HNHND340 HRHRV191 HTHTI332 HUHUN348 IDIDN360 IEIRL372 ILISR376 IMIMN833 \
    ININD356 IOIOT086 IQIRQ368 IRIRN364 ISISL352 ITITA380 JEJEY832 JMJAM388 \
    JOJOR400 JPJPN392 KEKEN404 KGKGZ417 KHKHM116 KIKIR296 KMCOM174 KNKNA659 \
    KPPRK408 KRKOR410 KWKWT414 KYCYM136 KZKAZ398 LALAO418 LBLBN422 LCLCA662 \
    LILIE438 LKLKA144 LRLBR430 LSLSO426 LTLTU440 LULUX442 LVLVA428 LYLBY434 \
    MAMAR504 MCMCO492 MDMDA498 MEMNE499 MFMAF663 MGMDG450 MHMHL584 MKMKD807 \
    MLMLI466 MMMMR104 MNMNG496 MOMAC446 MPMNP580 MQMTQ474 MRMRT478 MSMSR500 \
    MTMLT470 MUMUS480 MVMDV462 MWMWI454 MXMEX484 MYMYS458 MZMOZ508 NANAM516 \
    NCNCL540 NENER562 NFNFK574 NGNGA566 NINIC558 NLNLD528 NONOR578 NPNPL524 \
    NRNRU520 NUNIU570 NZNZL554 OMOMN512 PAPAN591 PEPER604 PFPYF258 PGPNG598 \
    PHPHL608 PKPAK586 PLPOL616 PMSPM666 PNPCN612 PRPRI630 PSPSE275 PTPRT620 \
    PWPLW585 PYPRY600 QAQAT634 REREU638 ROROU642 RSSRB688 RURUS643 RWRWA646 \
    SASAU682 SBSLB090 SCSYC690 SDSDN729 SESWE752 SGSGP702 SHSHN654 SISVN705 \
    SJSJM744 SKSVK703 SLSLE694 SMSMR674 SNSEN686 SOSOM706 SRSUR740 SSSSD728 \
    STSTP678 SVSLV222 SXSXM534 SYSYR760 SZSWZ748 TCTCA796 TDTCD148 TFATF260 \
    TGTGO768 THTHA764 TJTJK762 TKTKL772 TLTLS626 TMTKM795 TNTUN788 TOTON776 \
    TRTUR792 TTTTO780 TVTUV798 TWTWN158 TZTZA834 UAUKR804 UGUGA800 UMUMI581 \
    USUSA840 UYURY858 UZUZB860 VAVAT336 VCVCT670 VEVEN862 VGVGB092 VIVIR850 \
    VNVNM704 VUVUT548 WFWLF876 WSWSM882 YEYEM887 YTMYT175 ZAZAF710 ZMZMB894 \
    ZWZWE716 \
    ";

/// Characters from one country of [`CODES`] to the next.
const STRIDE: usize = 9;

/// Countries in the list.
const COUNT: usize = CODES.len() / STRIDE;

static ALPHA_2: [u8; 26 * 26] = by_alpha_2();
static ALPHA_3: [u8; 26 * 26 * 26] = by_alpha_3();
static NUMERIC: [u8; 1_000] = by_numeric();

const fn letter(byte: u8) -> usize {
    (byte - b'A') as usize
}

/// The number of the country at a place of the list; the places of a `u8`, checked by `COUNT`.
#[expect(clippy::cast_possible_truncation, reason = "COUNT is asserted to fit a byte")]
const fn number(place: usize) -> u8 {
    const { assert!(COUNT < 256, "a country is a byte") };
    (place + 1) as u8
}

const fn by_alpha_2() -> [u8; 26 * 26] {
    let mut table = [0; 26 * 26];
    let mut place = 0;
    while place < COUNT {
        let at = place * STRIDE;
        table[letter(CODES[at]) * 26 + letter(CODES[at + 1])] = number(place);
        place += 1;
    }
    table
}

const fn by_alpha_3() -> [u8; 26 * 26 * 26] {
    let mut table = [0; 26 * 26 * 26];
    let mut place = 0;
    while place < COUNT {
        let at = place * STRIDE + 2;
        let slot = (letter(CODES[at]) * 26 + letter(CODES[at + 1])) * 26 + letter(CODES[at + 2]);
        table[slot] = number(place);
        place += 1;
    }
    table
}

const fn by_numeric() -> [u8; 1_000] {
    let mut table = [0; 1_000];
    let mut place = 0;
    while place < COUNT {
        let at = place * STRIDE + 5;
        let code = (CODES[at] - b'0') as usize * 100
            + (CODES[at + 1] - b'0') as usize * 10
            + (CODES[at + 2] - b'0') as usize;
        table[code] = number(place);
        place += 1;
    }
    table
}

/// The country of an alpha-2, alpha-3 or numeric code, letters of either case; 0 for any other
/// text.
#[must_use]
pub fn country(code: &[u8]) -> Country {
    let index = |byte: u8| usize::from(byte.wrapping_sub(b'A') & 0xdf);
    let letters = code.iter().all(u8::is_ascii_alphabetic);
    let found = match *code {
        [a, b] if letters => ALPHA_2[index(a) * 26 + index(b)],
        [a, b, c] if letters => ALPHA_3[(index(a) * 26 + index(b)) * 26 + index(c)],
        [_, ..] if code.len() <= 3 && code.iter().all(u8::is_ascii_digit) => {
            let number = code.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
            NUMERIC[number]
        }
        _ => 0,
    };
    Country(found)
}

/// The alpha-2 code of a country; `None` for 0 and numbers that are not given out.
#[must_use]
pub fn country_code(country: Country) -> Option<&'static str> {
    let at = usize::from(country.0.checked_sub(1)?) * STRIDE;
    std::str::from_utf8(CODES.get(at..at + 2)?).ok()
}
