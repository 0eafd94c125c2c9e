//! Values are taken and refused as Apache Kafka does, with the same words (testdata/config-values.tsv).

use ottla_metadata::configs;

#[test]
fn values_are_taken_and_refused_as_kafka_does() {
    let mut checked = 0;
    for line in include_str!("../../testdata/config-values.tsv").lines().filter(|line| !line.starts_with('#'))
    {
        let fields: Vec<&str> = line.split('\t').collect();
        let [resource, name, value, outcome, text] = fields[..] else { panic!("{line}") };
        let def = match resource {
            "broker" => configs::broker(name),
            "topic" => configs::topic(name),
            "group" => configs::group(name),
            "client-metrics" => configs::client_metrics(name),
            other => panic!("{other}"),
        };
        let ours = match def.unwrap().parse(value) {
            Ok(value) => ("OK", value.to_string()),
            Err(error) => ("ERR", error.to_string()),
        };
        assert_eq!(ours, (outcome, text.to_owned()), "{line}");
        checked += 1;
    }
    assert!(checked > 500, "{checked}");
}
