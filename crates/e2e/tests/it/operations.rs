//! The commands of docs/operations do what the pages promise: each page's are run as they stand, but for the addresses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ottla_e2e::node::Brand;
use ottla_e2e::tools::{class_of, log4j_file};
use ottla_e2e::{artifacts, process};

use crate::Named;

pub const TESTS: &[Named] = &[
    ("cluster", || follow(Brand::candidate(), &["cluster", "controllers", "brokers"])),
    ("migration", || follow(Brand::Apache, &["cluster", "migration"])),
    ("tools", || follow(Brand::candidate(), &["tools"])),
];

/// Runs the pages one after the other; `begun` is who serves the cluster until it is migrated.
fn follow(begun: Brand, pages: &[&str]) -> Result<()> {
    let home = tempfile::tempdir().context("create a directory for a cluster")?;
    programs(home.path()).context("make the programs that the pages name")?;
    let mut script = String::from("set -eu\nexport PATH=$PWD/bin:$PATH\n");
    for page in pages {
        let path = artifacts::crate_dir().join(format!("../../docs/operations/{page}.md"));
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let server =
            if *page != "migration" && begun != Brand::Ottla { "kafka-server-start" } else { "ottla server" };
        let commands = commands(&text).replace("ottla server", server);
        ensure!(!commands.is_empty(), "{page}.md has no commands");
        script.push_str(&format!("echo '== {page}.md'\n{commands}"));
    }
    // Addresses of this machine that no other run uses.
    let (high, low) = ((std::process::id() >> 8) as u8, std::process::id() as u8);
    fs::write(home.path().join("script"), script.replace("127.0.0.", &format!("127.{high}.{low}.")))
        .context("write the script")?;
    let mut bash = process::bound("bash");
    bash.arg("-x").arg("script").current_dir(home.path());
    let output = process::output(bash, Duration::from_secs(300))
        .map_err(|error| error.context((1..=5).map(|n| tail(home.path(), n)).collect::<String>()))?;
    ensure!(
        output.status.success(),
        "{}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        (1..=5).map(|n| tail(home.path(), n)).collect::<String>()
    );
    Ok(())
}

/// What stands between ```sh and ```.
fn commands(page: &str) -> String {
    let blocks = page.split("\n```sh\n").skip(1);
    blocks.filter_map(|block| Some(block.split_once("\n```")?.0.to_owned() + "\n")).collect()
}

/// `ottla`, `kafka-server-start` and Apache's tools as programs that end with the shell which called them.
fn programs(home: &Path) -> Result<()> {
    let bin = home.join("bin");
    fs::create_dir(&bin).context("create a directory for programs")?;
    let java = format!(
        "java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -Dlog4j2.configurationFile={}",
        log4j_file()?.display()
    );
    let broker = artifacts::jars("broker")?;
    let mut programs = vec![
        ("ottla", artifacts::ottla_binary()?.display().to_string()),
        ("kafka-server-start", format!("{java} -cp '{broker}:{}' kafka.Kafka", artifacts::jars("logging")?)),
    ];
    let tools = artifacts::jars("tools")?;
    for name in [
        "kafka-metadata-quorum",
        "kafka-topics",
        "kafka-cluster",
        "kafka-reassign-partitions",
        "kafka-broker-api-versions",
    ] {
        let class = class_of(name).with_context(|| format!("{name} is no known tool"))?;
        programs.push((name, format!("{java} -cp '{tools}' {class}")));
    }
    for (name, program) in programs {
        let file = bin.join(name);
        fs::write(&file, format!("#!/bin/sh\nexec setpriv --pdeathsig KILL -- {program} \"$@\"\n"))
            .with_context(|| format!("write {name}"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).context("make a program runnable")?;
    }
    Ok(())
}

fn tail(home: &Path, node: u8) -> String {
    let text = fs::read_to_string(home.join(format!("node{node}/log"))).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("--- node {node}:\n{}\n", lines[lines.len().saturating_sub(10)..].join("\n"))
}
