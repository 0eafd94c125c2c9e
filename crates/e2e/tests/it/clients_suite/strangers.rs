//! Servers of other kinds at a broker's port, as they really answer, and what the client takes them for.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ottla_client::blocking::Producer;
use ottla_client::{ClientConfig, Record};
use ottla_e2e::{artifacts, process};

const NODE_HTTP: &str =
    "const s = require('http').createServer().listen(0, '127.0.0.1', () => console.log(s.address().port))";
const NODE_TLS: &str =
    "const options = { pfx: require('fs').readFileSync(process.argv[1]), passphrase: 'secret' };
const s = require('tls').createServer(options).listen(0, '127.0.0.1', () => console.log(s.address().port))";
const PYTHON_HTTP: &str = "import http.server as h
s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)
print(s.server_port, flush=True)
s.serve_forever()";

/// A producer's first record says what listens at the port.
pub fn named() -> Result<()> {
    let (python, keys) = (artifacts::python()?.display().to_string(), keys()?.display().to_string());
    for (program, arguments, expected) in [
        ("node", &["-e", NODE_HTTP][..], "this looks like an HTTP server"),
        ("node", &["-e", NODE_TLS, &keys], "this looks like a TLS listener"),
        // It waits for the end of a line.
        (&python, &["-c", PYTHON_HTTP], "is this the port of a Kafka broker, or of an HTTP server?"),
    ] {
        let mut server = process::bound(program);
        server.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = process::spawn(server)?;
        let mut port = String::new();
        BufReader::new(server.stdout.take().context("its output is piped")?).read_line(&mut port)?;
        let error = error_at(&format!("127.0.0.1:{}", port.trim()));
        server.kill()?;
        server.wait()?;
        let error = error?;
        ensure!(error.contains(expected), "{arguments:?}: {error}");
    }
    Ok(())
}

/// A key and a certificate that nobody trusts.
fn keys() -> Result<PathBuf> {
    let path = artifacts::target_dir().join("strangers.p12");
    if !path.exists() {
        let mut keytool = process::bound("keytool");
        let arguments =
            "-genkeypair -alias a -keyalg EC -dname CN=localhost -storetype PKCS12 -storepass secret";
        keytool.args(arguments.split(' ')).arg("-keystore").arg(&path);
        let output = process::output(keytool, Duration::from_secs(60))?;
        ensure!(output.status.success(), "keytool: {}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(path)
}

fn error_at(bootstrap: &str) -> Result<String> {
    let config = ClientConfig::new(bootstrap)
        .with("max.block.ms", 3000)?
        .with("socket.connection.setup.timeout.ms", 1000)?;
    let sent = Producer::new(&config)?.send(Record::to("t").value("v"));
    Ok(sent.err().context("a record was taken")?.to_string())
}
