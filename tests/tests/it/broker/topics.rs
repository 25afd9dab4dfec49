//! Topics are found, made, or asked for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use cardlens_engine::{Action, Clock as _, SystemClock};
use cardlens_kafka::{Health, KafkaConfig, Prepared, prepare};
use cardlens_tests::broker::{Broker, free_ports};

use super::{config, connect};

fn problem(config: &KafkaConfig) -> String {
    let error = prepare(config, &Arc::new(Health::default())).unwrap_err();
    assert_eq!(error.action(), Action::Stop, "{error}");
    error.to_string()
}

#[test]
fn topics_are_made_or_asked_for() -> Result<()> {
    let broker = Broker::start()?;
    let mut config = config(&broker, "a");
    assert!(problem(&config).contains("input topic `cards` is not there"));

    broker.create_topic("cards", 3, &[("message.timestamp.type", "LogAppendTime")])?;
    config.create_topics = false;
    let asked = problem(&config);
    let command = format!(
        "kafka-topics.sh --bootstrap-server {} --create --topic cardlens.customer-segments \
         --partitions 3 --replication-factor 1 --config cleanup.policy=compact",
        broker.bootstrap()
    );
    assert!(asked.contains(&command), "{asked}");
    assert_eq!(asked.lines().count(), 4, "{asked}");

    config.create_topics = true;
    let health = Arc::new(Health::default());
    let prepared = prepare(&config, &health)?;
    assert_eq!(prepared, Prepared { partitions: 3, warnings: Vec::new() });
    assert_eq!(prepare(&config, &health)?, prepared, "nothing to do");

    // Other counts, and settings that lose what recovery needs.
    config.topics.changes = "few".to_owned();
    broker.create_topic("few", 2, &[])?;
    assert!(problem(&config).contains("`few` has 2 partitions, but `cards` has 3"));
    config.topics.changes = "cardlens.segment-changes".to_owned();
    config.topics.current = "forgetful".to_owned();
    broker.create_topic("forgetful", 3, &[("cleanup.policy", "compact,delete")])?;
    assert!(problem(&config).contains("`forgetful` has cleanup.policy="));
    config.topics.current = "cardlens.customer-segments".to_owned();
    config.topics.decisions = "short".to_owned();
    broker.create_topic("short", 3, &[("retention.ms", "1000")])?;
    assert!(problem(&config).contains("`short` has retention.ms=1000"));

    // An input that forgets by its producers' clocks.
    config.topics.decisions = "cardlens.decisions".to_owned();
    config.topics.input = "old".to_owned();
    broker.create_topic("old", 3, &[])?;
    let warnings = prepare(&config, &health)?.warnings;
    assert!(warnings[0].contains("message.timestamp.type=LogAppendTime"), "{warnings:?}");
    Ok(())
}

/// A wrong password and a wrong protocol reach no call: each only times out.
#[test]
fn a_refused_client_is_told_why() -> Result<()> {
    let [secured, _] = free_ports()?;
    let listeners = format!(
        "PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller}},SASL://127.0.0.1:{secured}"
    );
    let advertised = format!("PLAINTEXT://127.0.0.1:{{port}},SASL://127.0.0.1:{secured}");
    let broker = Broker::start_with(&[
        ("listeners", &listeners),
        ("advertised.listeners", &advertised),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT",
        ),
        ("listener.name.sasl.sasl.enabled.mechanisms", "PLAIN"),
        (
            "listener.name.sasl.plain.sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required \
             user_app=\"right\";",
        ),
    ])?;
    broker.create_topic("cards", 1, &[])?;
    let mut config = config(&broker, "a");
    config.bootstrap_servers = format!("127.0.0.1:{secured}");
    for (name, value) in [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "app"),
    ] {
        config.properties.insert(name.to_owned(), value.to_owned());
    }
    config.sasl_password = Some("right".to_owned());
    drop(connect(&config)?);
    config.sasl_password = Some("wrong".to_owned());
    let told = connect(&config).err().unwrap().to_string();
    assert!(told.contains("Authentication failed"), "{told}");
    assert!(!format!("{config:?}{told}").contains("wrong"), "the password is shown");
    config.properties.insert("security.protocol".to_owned(), "SSL".to_owned());
    let told = connect(&config).err().unwrap().to_string();
    assert!(told.contains("SSL"), "{told}");
    Ok(())
}

#[test]
fn a_broker_that_is_away_is_an_outage_with_a_cause() -> Result<()> {
    let mut broker = Broker::start()?;
    broker.create_topic("cards", 1, &[])?;
    let config = config(&broker, "a");
    broker.stop()?;
    let clock = SystemClock::new();
    let error = connect(&config).err().unwrap();
    assert_eq!(error.action(), Action::Retry, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(clock.elapsed() < Duration::from_secs(30));
    Ok(())
}
