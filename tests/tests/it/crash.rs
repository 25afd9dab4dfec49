//! The same output after every crash: members die before and after their commits, commits are
//! refused or answered into the void, partitions move; what customers were told is the same, in
//! order, to the byte.

use cardlens_engine::Deployment;
use cardlens_tests::backtest::default_rules;
use cardlens_tests::sim::{Sim, records};

fn seeds() -> Vec<u64> {
    #[allow(clippy::disallowed_methods, reason = "the test's own knob")]
    let given = std::env::var("CARDLENS_SIM_SEEDS").ok();
    #[allow(clippy::disallowed_methods, reason = "the test's own knob")]
    let many = std::env::var("CARDLENS_PROVE_SEEDS").ok().and_then(|n| n.parse().ok());
    match given {
        Some(list) => list.split(',').map(|seed| seed.trim().parse().unwrap()).collect(),
        None => (1..=many.unwrap_or(6)).collect(),
    }
}

#[test]
fn crashes_change_nothing() {
    let deployment = Deployment::new(default_rules());
    let mut deaths = 0;
    let seeds = seeds();
    for seed in &seeds {
        let records = records(*seed, 30, 6_000);
        let expected = Sim::undisturbed(&deployment, 3, &records);
        assert!(expected.values().map(Vec::len).sum::<usize>() > 30, "seed {seed}");
        let sim = Sim::new(deployment.clone(), 3, &records);
        let disturbed = sim.disturbed(*seed, 12);
        let told = disturbed.told;
        assert!(disturbed.journals > 3, "seed {seed}: {} journals", disturbed.journals);
        for (customer, events) in &expected {
            let customer_id = String::from_utf8_lossy(customer);
            assert_eq!(told.get(customer), Some(events), "seed {seed}, customer {customer_id}");
        }
        assert_eq!(told.len(), expected.len(), "seed {seed}");
        sim.check_published();
        deaths += disturbed.deaths;
    }
    assert!(deaths > seeds.len() * 5, "only {deaths} deaths");
    println!("proved: {} seeds, {deaths} deaths, the same output", seeds.len());
}
