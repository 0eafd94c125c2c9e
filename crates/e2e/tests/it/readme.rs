//! The README's examples do what it promises: each is taken from it word for word, but for the address.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ottla_e2e::{artifacts, process, world};

use crate::Named;

pub const TESTS: &[Named] = &[("examples", examples)];

/// How long one example may take, its compiler included.
const LIMIT: Duration = Duration::from_secs(120);

/// What the Python example writes and the others read.
const RECORD: &str = "prague: dobrý den\n";

fn examples() -> Result<()> {
    let node = world::candidate()?;
    let readme =
        fs::read_to_string(artifacts::crate_dir().join("../../README.md")).context("read README.md")?;
    let example = |language: &str| -> Result<String> {
        let block = code_below(&readme, language).with_context(|| format!("README.md has no {language}"))?;
        ensure!(block.contains("127.0.0.1:9092"), "the address in {block}");
        Ok(block.replace("127.0.0.1:9092", &node.bootstrap()))
    };
    let home = node.home().join("readme");
    fs::create_dir_all(home.join("go")).context("create a directory for the examples")?;
    let write = |name: &str, text: String| -> Result<PathBuf> {
        fs::write(home.join(name), text).with_context(|| format!("write {name}"))?;
        Ok(home.join(name))
    };

    let python = write("example.py", example("Python")?)?;
    run(&artifacts::python()?.display().to_string(), &[&python.display().to_string()])?;

    let body = example("Java")?;
    let imports = "import java.time.*; import java.util.*; import org.apache.kafka.clients.consumer.*; \
                   import org.apache.kafka.common.serialization.*;";
    let java = write(
        "Example.java",
        format!("{imports} class Example {{ public static void main(String[] a) {{\n{body}}} }}"),
    )?;
    let told = run("java", &["-cp", &artifacts::jars("broker")?, &java.display().to_string()])?;
    ensure!(told == RECORD, "the Java example prints {told:?}");

    let body = example("Go")?;
    let imports = "import (\"context\"; \"fmt\"; \"github.com/twmb/franz-go/pkg/kgo\")";
    write(
        "go/main.go",
        format!("package main\n{imports}\nfunc main() {{\nctx := context.Background()\n{body}}}\n"),
    )?;
    for name in ["go.mod", "go.sum"] {
        let from = artifacts::crate_dir().join("clients/go").join(name);
        fs::copy(&from, home.join("go").join(name)).with_context(|| format!("copy {name}"))?;
    }
    let told = run("go", &["-C", &home.join("go").display().to_string(), "run", "."])?;
    ensure!(told == RECORD, "the Go example prints {told:?}");
    Ok(())
}

/// The indented block behind the paragraph that begins with `language`.
fn code_below(readme: &str, language: &str) -> Option<String> {
    let (_, below) = readme.split_once(&format!("\n{language}, with "))?;
    let code = below.lines().skip(2).take_while(|line| line.starts_with("    ") || line.is_empty());
    let code: String =
        code.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or_default())).collect();
    (!code.trim().is_empty()).then_some(code)
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = process::bound(program);
    command.args(arguments);
    let output = process::output(command, LIMIT)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{program} ended with {}:\n{out}{err}", output.status);
    Ok(out.into_owned())
}
