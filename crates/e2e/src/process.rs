//! Child processes that never outlive the test binary.
//!
//! Every child is started through `setpriv --pdeathsig KILL` by one thread that lives as long as the
//! process: the signal is tied to the thread which forked, and test threads end.

use std::process::{Child, Command, ExitStatus, Output};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

type Job = (Command, Sender<std::io::Result<Child>>);

/// Prepares `program` to be killed by the kernel when the test binary ends.
pub fn bound(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// Starts a command made by [`bound`].
pub fn spawn(command: Command) -> Result<Child> {
    static NURSERY: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let what = format!("{command:?}");
    let (reply, child) = channel();
    nursery.lock().expect("nursery lock").send((command, reply)).context("reach the nursery thread")?;
    child.recv().context("hear from the nursery thread")?.with_context(|| format!("start {what:.300}"))
}

/// Runs a command made by [`bound`] to its end and returns what it printed; kills it after `limit`.
pub fn output(mut command: Command, limit: Duration) -> Result<Output> {
    let what = format!("{command:?}");
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = spawn(command)?;
    let pid = child.id();
    let (done, finished) = channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match finished.recv_timeout(limit) {
        Ok(output) => output.with_context(|| format!("wait for {what:.300}")),
        Err(_) => {
            signal(pid, Signal::KILL)?;
            bail!("no end after {} s: {what:.600}", limit.as_secs())
        }
    }
}

/// Sends a signal to a process this binary started.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid as i32).context("a pid is above zero")?;
    kill_process(pid, signal).with_context(|| format!("send {signal:?} to {pid:?}"))
}

/// Waits for a child's end, at most `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("wait for a child")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        // Another process: nothing tells us (tidy: thread::sleep).
        std::thread::sleep(Duration::from_millis(10));
    }
}
