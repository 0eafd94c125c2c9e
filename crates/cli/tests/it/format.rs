//! `ottla format`, `ottla info`, `ottla random-uuid`.

use std::fs;

use crate::{golden, ottla, stderr, stdout};

#[test]
fn format_makes_what_kafka_s_tool_makes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("server.properties");
    let text = format!(
        "node.id=1\nprocess.roles=broker,controller\nlisteners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:9093\nlog.dirs={}\n",
        data.display()
    );
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();

    let info = ottla(["info", "--config", file]);
    assert_eq!(info.status.code(), Some(1));
    let missing = ottla(["format", "--config", file, "--cluster-id", "DFF4aVFKT9OXlxhwrJUsDg"]);
    assert!(
        stderr(&missing).starts_with("error: Because controller.quorum.voters is not set"),
        "{}",
        stderr(&missing)
    );

    let format = |more: &[&str]| {
        let mut arguments = vec!["format", "--config", file, "--cluster-id", "DFF4aVFKT9OXlxhwrJUsDg"];
        arguments.extend(more);
        ottla(arguments)
    };
    let output = format(&["--no-initial-controllers"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        format!("Formatting dynamic metadata directory {} with metadata.version 4.4-IV2.\n", data.display())
    );
    let again = format(&["--no-initial-controllers"]);
    assert!(stderr(&again).contains("is already formatted"), "{}", stderr(&again));
    assert!(format(&["--no-initial-controllers", "--ignore-formatted"]).status.success());
    assert!(stdout(&ottla(["info", "--config", file])).contains("cluster.id=DFF4aVFKT9OXlxhwrJUsDg"));

    // The same records in the same batches, and only their times and what depends on them differ.
    let dump = |dir: &std::path::Path| {
        let output =
            ottla(["dump".as_ref(), "--records".as_ref(), dir.join("__cluster_metadata-0").as_os_str()]);
        let lines: Vec<String> = stdout(&output)
            .lines()
            .skip(1)
            .map(|line| {
                let words =
                    line.split(' ').filter(|word| !word.starts_with("crc=") && !word.contains("imestamp="));
                words.collect::<Vec<_>>().join(" ")
            })
            .collect();
        lines.join("\n")
    };
    assert_eq!(dump(&data), dump(&golden().join("dirs/format-4.4-no-initial-controllers")));
}

#[test]
fn drawn_ids_are_ids() {
    let draw = || stdout(&ottla(["random-uuid"])).trim_end().to_owned();
    let (first, second) = (draw(), draw());
    assert_eq!((first.len(), second.len()), (22, 22));
    assert_ne!(first, second);
}
