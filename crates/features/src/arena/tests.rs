use super::*;

#[test]
fn growing_keeps_what_is_there_and_adds_zeroes() {
    for mut region in [Region::<u64>::new(), Region::reserve(4 * HUGE_PAGE_BYTES).unwrap()] {
        assert!(region.is_empty());
        let mut written = 0;
        for len in [1, 8_000, 300_000, 2_000_000] {
            region.grow_to(len);
            assert!(region.len() >= len);
            assert!(region[..written].iter().enumerate().all(|(at, it)| *it == at as u64 + 1));
            assert!(region[written..].iter().all(|it| *it == 0));
            written = region.len();
            for (at, it) in region.iter_mut().enumerate() {
                *it = at as u64 + 1;
            }
        }
    }
}
