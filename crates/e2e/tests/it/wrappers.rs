//! The test brokers of `testing/`: each wrapper's own tests, with a client of its language.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_e2e::cluster::pause;
use ottla_e2e::{artifacts, process};

use crate::Named;

pub const TESTS: &[Named] =
    &[("pytest", pytest), ("junit", junit), ("go", go), ("node", node), ("orphans", orphans)];

/// How long the tests of one wrapper may take, compilers included.
const LIMIT: Duration = Duration::from_secs(120);

fn pytest() -> Result<()> {
    let python = artifacts::python()?.display().to_string();
    let arguments = ["-m", "pytest", "-q", "-p", "ottla_testing", "-p", "no:cacheprovider"];
    run("python", &python, &arguments, "4 passed")
}

fn junit() -> Result<()> {
    let classes = artifacts::junit_wrapper()?.display().to_string();
    let class_path = format!("{classes}:{classes}/*");
    let console = "org.junit.platform.console.ConsoleLauncher";
    let arguments =
        ["-cp", &class_path, console, "execute", "--disable-banner", "--scan-classpath", &classes];
    run("java", "java", &arguments, "4 tests successful")
}

fn go() -> Result<()> {
    run("go", "go", &["test", "-v", "-count=1", "./..."], "--- PASS: TestRecordsComeBack")
}

fn node() -> Result<()> {
    let home = artifacts::node_wrapper()?.display().to_string();
    run("node", "node", &["--test", &home], "# pass 3")
}

/// A broker whose test was killed, and could not tell it, ends too and leaves no data.
fn orphans() -> Result<()> {
    let files = tempfile::tempdir()?;
    let mut test = process::bound(&artifacts::python()?.display().to_string());
    let script = "import ottla_testing, sys
print(ottla_testing.Broker().start().bootstrap_servers, flush=True)
sys.stdin.read()";
    test.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    test.env("OTTLA_BIN", artifacts::ottla_binary()?.canonicalize()?).env("PYTHONPATH", home("python"));
    test.env("TMPDIR", files.path());
    let mut test = process::spawn(test)?;
    let mut address = String::new();
    BufReader::new(test.stdout.take().context("its output is piped")?).read_line(&mut address)?;
    let has_data = || {
        let entries = std::fs::read_dir(files.path());
        entries.is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.file_name().display().to_string().starts_with("ottla-dev-"))
            })
        })
    };
    ensure!(TcpStream::connect(address.trim()).is_ok() && has_data(), "{address} is no broker");
    test.kill()?;
    test.wait()?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while has_data() {
        ensure!(Instant::now() < deadline, "the broker has outlived its test");
        pause();
    }
    Ok(())
}

/// Runs a wrapper's tests where it lies, and looks for what tells that they ran.
fn run(wrapper: &str, program: &str, arguments: &[&str], said: &str) -> Result<()> {
    let mut command = process::bound(program);
    command.args(arguments).current_dir(home(wrapper));
    command.env("OTTLA_BIN", artifacts::ottla_binary()?.canonicalize()?);
    command.env("PYTHONPATH", home(wrapper)).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = process::output(command, LIMIT)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{program} ended with {}:\n{out}{err}", output.status);
    ensure!(out.contains(said), "{program} did not say {said:?}:\n{out}{err}");
    Ok(())
}

fn home(wrapper: &str) -> PathBuf {
    artifacts::crate_dir().join("../../testing").join(wrapper)
}
