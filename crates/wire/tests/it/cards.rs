//! What looks like a card number and what does not. The numbers are the networks' test numbers.

use cardlens_wire::holds_card_number;

#[track_caller]
fn check(text: &str, expected: bool) {
    assert_eq!(holds_card_number(text.as_bytes()), expected, "{text:?}");
}

#[test]
fn card_numbers_of_every_issuer() {
    for number in [
        "4222222222222",       // Visa, 13 digits
        "4111111111111111",    // Visa
        "4000000000000000006", // Visa, 19 digits
        "5555555555554444",    // Mastercard
        "2223003122003222",    // Mastercard, 2 series
        "378282246310005",     // American Express
        "30569309025904",      // Diners Club
        "6011111111111117",    // Discover
        "3530111333300000",    // JCB
        "6200000000000005",    // UnionPay
        "6759649826438453",    // Maestro
    ] {
        check(number, true);
        check(&format!("card {number}, thanks"), true);
        check(&format!("\u{e9}{number}\u{e9}"), true);
        check(&format!("x{number}x"), true);
        let mut wrong = number.to_owned();
        let last = wrong.pop().unwrap().to_digit(10).unwrap();
        check(&format!("{wrong}{}", (last + 1) % 10), false);
        // Not a piece of a longer number.
        check(&format!("{number}0000000"), false);
        for place in 0..40 {
            check(&format!("{}{number}{}", "a".repeat(place), "b".repeat(40 - place)), true);
        }
    }
}

#[test]
fn card_numbers_in_pieces() {
    for text in [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111 - 1111 - 1111 - 1111",
        "3782 822463 10005",
        "4222 2222 2222 2",
        "ends 123 4111 1111 1111 1111",
        "2026-06-30 4111 1111 1111 1111",
        "4111 1111 1111 1111 2028-11",
    ] {
        check(text, true);
    }
    for text in [
        "",
        "411111111111",
        "4111.1111.1111.1111",
        "4111  11  1111  1111  11",
        "4111    1111    1111    1111",
        "2026-06-30 14-05-11 2026",
        "1234567890123456",
        "0000000000000000",
        "tx-00000000004c4b40",
        "A0000000301",
        "------------- ------------- ",
    ] {
        check(text, false);
    }
}

/// The places that are skipped hide nothing: a search from every place finds the same.
#[test]
fn skipping_finds_what_looking_everywhere_finds() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut found = 0;
    for _ in 0..200_000 {
        let text: Vec<u8> = (0..48)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                b"44444444444455555666011 -x"[(state >> 33) as usize % 26]
            })
            .collect();
        let whole = holds_card_number(&text);
        // Runs by themselves, cut where no card number can reach across.
        let runs = text.split(|byte| *byte == b'x').any(holds_card_number);
        assert_eq!(whole, runs, "{:?}", String::from_utf8_lossy(&text));
        found += u32::from(whole);
    }
    assert!(found > 1_000, "only {found} were found, so little was tested");
}
