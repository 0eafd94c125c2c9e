//! What the suites need from outside, fetched once into `target/e2e` and kept: Apache Kafka's jars, compiled
//! Java classes, a Python environment, a Go binary, Node packages.
//!
//! Each artifact is a directory named after a hash of its inputs, with a marker once it is complete, so an
//! interrupted run starts over. A missing tool or registry is an error which names it: nothing is skipped.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

/// Compiles what takes minutes, beside suites that leave cores idle and before those that need it. What fails here is
/// tried again, and told, by them.
pub fn prepare() {
    // Of this thread only, and of what it starts: the suites come first.
    let _ = rustix::process::setpriority_process(None, 10);
    let _ = rust_client();
    let _ = node_client();
}

/// Where this crate's sources are.
pub fn crate_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The workspace's target directory.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => crate_dir().join("../../target"),
    }
}

/// The binary under test: `OTTLA_BIN`, else the newer of target/release/ottla and target/debug/ottla.
pub fn ottla_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("OTTLA_BIN") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "OTTLA_BIN names {}, which is no file", path.display());
        return Ok(path);
    }
    ["release/ottla", "debug/ottla"]
        .iter()
        .map(|name| target_dir().join(name))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
        .context(
            "no ottla binary in target/release or target/debug; run `cargo build --release` or set OTTLA_BIN",
        )
}

/// Jars of the judge (`broker`, 4.4.0) or of Apache's tools (`tools`, 4.3.1) as a class path.
pub fn jars(profile: &str) -> Result<String> {
    let pom = crate_dir().join("apache/pom.xml");
    let dir = made(profile, &[&pom], |dir| {
        run(Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(&pom)
            .args(["-P", profile])
            .args(["dependency:copy-dependencies", &format!("-DoutputDirectory={}", dir.display())]))
    })?;
    Ok(format!("{}/*", dir.display()))
}

/// The classes of `clients/java`, compiled against the judge's jars.
pub fn java_classes() -> Result<PathBuf> {
    let sources = sorted(&crate_dir().join("clients/java"), "java")?;
    let path = jars("broker")?;
    made("java", &sources.iter().map(PathBuf::as_path).collect::<Vec<_>>(), |dir| {
        run(Command::new("javac").args(["-nowarn", "-cp", &path, "-d"]).arg(dir).args(&sources))
    })
}

/// The interpreter of a Python environment with the pinned clients.
pub fn python() -> Result<PathBuf> {
    let requirements = crate_dir().join("clients/python/requirements.txt");
    let dir = made("python", &[&requirements], |dir| {
        run(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
        run(Command::new(dir.join("bin/python"))
            .args(["-m", "pip", "install", "-q", "-r"])
            .arg(&requirements))
    })?;
    Ok(dir.join("bin/python"))
}

/// The Go client, compiled.
pub fn go_client() -> Result<PathBuf> {
    let source = crate_dir().join("clients/go");
    let inputs = [source.join("main.go"), source.join("go.mod"), source.join("go.sum")];
    let dir = made("go", &inputs.each_ref().map(PathBuf::as_path), |dir| {
        run(Command::new("go").current_dir(&source).args(["build", "-o"]).arg(dir.join("client")).arg("."))
    })?;
    Ok(dir.join("client"))
}

/// A directory with the Node clients and their packages installed; librdkafka takes minutes to compile.
pub fn node_client() -> Result<PathBuf> {
    node_project("node", "clients/node", &["client.js", "rdkafka.js"])
}

/// A copy of a Node project with its packages installed.
fn node_project(name: &str, source: &str, programs: &[&str]) -> Result<PathBuf> {
    let source = crate_dir().join(source);
    let names = ["package.json", "package-lock.json"].iter().chain(programs);
    let inputs: Vec<PathBuf> = names.map(|name| source.join(name)).collect();
    made(name, &inputs.iter().map(PathBuf::as_path).collect::<Vec<_>>(), |dir| {
        for input in &inputs {
            fs::copy(input, dir.join(input.file_name().context("name a Node input")?))?;
        }
        let mut npm = Command::new("npm");
        npm.current_dir(dir).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
        // The headers that came with node, where it has brought them: else npm fetches them.
        if Path::new("/usr/include/node/node.h").is_file() {
            npm.env("npm_config_nodedir", "/usr");
        }
        run(&mut npm)
    })
}

/// The Rust client on rdkafka, a package of its own because librdkafka takes minutes to compile.
pub fn rust_client() -> Result<PathBuf> {
    let source = crate_dir().join("clients/rust");
    let inputs = [source.join("Cargo.toml"), source.join("Cargo.lock"), source.join("src/main.rs")];
    let dir = made("rust", &inputs.each_ref().map(PathBuf::as_path), |dir| {
        let build = target_dir().join("e2e/rust-build");
        run(Command::new("cargo")
            .current_dir(&source)
            .args(["build", "--locked", "-q", "--target-dir"])
            .arg(&build))?;
        fs::copy(build.join("debug/ottla-e2e-rdkafka"), dir.join("client"))
            .context("keep the Rust client")?;
        Ok(())
    })?;
    Ok(dir.join("client"))
}

/// Files of one extension in a directory, in order of name.
pub fn sorted(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The JUnit wrapper of `testing/java` and its tests, compiled, with the jars they need.
pub fn junit_wrapper() -> Result<PathBuf> {
    let source = crate_dir().join("../../testing/java");
    let inputs = [
        "pom.xml",
        "src/main/java/ottla/testing/OttlaBroker.java",
        "src/test/java/ottla/testing/OttlaBrokerTest.java",
    ]
    .map(|name| source.join(name));
    made("junit", &inputs.each_ref().map(PathBuf::as_path), |dir| {
        run(Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(&inputs[0])
            .args(["dependency:copy-dependencies", &format!("-DoutputDirectory={}", dir.display())]))?;
        let jars = format!("{}/*", dir.display());
        run(Command::new("javac").args(["-nowarn", "-cp", &jars, "-d"]).arg(dir).args(&inputs[1..]))
    })
}

/// The Node wrapper of `testing/node` and its tests, with the packages they need.
pub fn node_wrapper() -> Result<PathBuf> {
    node_project("node-wrapper", "../../testing/node", &["index.js", "index.test.js"])
}

fn made(name: &str, inputs: &[&Path], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    static MAKERS: Mutex<BTreeMap<String, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut makers = MAKERS.lock().unwrap_or_else(PoisonError::into_inner);
    let maker = Arc::clone(makers.entry(name.to_owned()).or_default());
    drop(makers);
    let _one_at_a_time = maker.lock().unwrap_or_else(PoisonError::into_inner);
    let mut hash = DefaultHasher::new();
    for input in inputs {
        fs::read(input).with_context(|| format!("read {}", input.display()))?.hash(&mut hash);
    }
    let home = target_dir().join("e2e");
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let home = home.canonicalize().context("resolve the target directory")?;
    let dir = home.join(format!("{name}-{:016x}", hash.finish()));
    let complete = dir.join(".complete");
    if complete.is_file() {
        return Ok(dir);
    }
    // A marker and not a rename: a Python environment cannot be moved.
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("clear {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let begun = std::time::Instant::now();
    make(&dir).with_context(|| format!("make the artifact `{name}`"))?;
    fs::write(&complete, b"").with_context(|| format!("mark {}", dir.display()))?;
    eprintln!("e2e: made {name} in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(dir)
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "`{name}` is not installed; the e2e suites need java 17, mvn, python3, go, node with npm, kcat, g++ and make"
            )
        }
        Err(error) => return Err(error).with_context(|| format!("run {name}")),
    };
    ensure!(
        output.status.success(),
        "{name} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
