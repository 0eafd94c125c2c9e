//! How commands reach a cluster: the options that all of them share, and one place where connecting fails.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ottla_client::{Admin, Client, ClientConfig, Peers};

use crate::exit::{Unreachable, Usage};
use crate::table::Format;

/// Where clients begin that were told nothing.
const BOOTSTRAP_DEFAULT: &str = "localhost:9092";
/// How long servers may fail before it is said; each has had several turns by then.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one may take to answer that does not fail.
const PATIENCE_MAX: Duration = Duration::from_secs(15);

#[derive(clap::Args, Clone)]
pub struct Options {
    /// Brokers to begin with, host:port, several separated by commas [default: localhost:9092]
    #[arg(
        short,
        long,
        global = true,
        env = "OTTLA_BOOTSTRAP",
        value_name = "SERVERS",
        help_heading = "Connection"
    )]
    pub bootstrap: Option<String>,
    /// Controllers to ask instead of brokers, host:port, several separated by commas; for quorum, features, configs and
    /// cluster id
    #[arg(long, global = true, value_name = "SERVERS", help_heading = "Connection")]
    pub bootstrap_controller: Option<String>,
    /// A properties file with settings of Kafka's clients
    #[arg(short = 'c', long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub client_config: Option<PathBuf>,
    /// One setting of Kafka's clients; may be repeated, and overrides the file
    #[arg(
        short = 'X',
        long = "setting",
        global = true,
        value_name = "NAME=VALUE",
        help_heading = "Connection"
    )]
    pub settings: Vec<String>,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT", help_heading = "Connection")]
    pub output: Format,
}

/// The arguments of a command that has actions of its own.
#[derive(clap::Args)]
pub struct Actions<A: clap::Subcommand> {
    #[command(flatten)]
    pub connection: Options,
    #[command(subcommand)]
    pub action: A,
}

impl<A: clap::Subcommand> Actions<A> {
    /// Runs an action with an admin client that has reached its cluster.
    pub fn run(self, command: impl AsyncFnOnce(Admin, A, Format) -> Result<()>) -> Result<()> {
        let Self { connection, action } = self;
        run(async move { command(connection.admin().await?, action, connection.output).await })
    }

    /// The same of a command that controllers can answer too.
    pub fn run_anywhere(self, command: impl AsyncFnOnce(Admin, A, Format) -> Result<()>) -> Result<()> {
        let Self { connection, action } = self;
        let config = connection.config_anywhere(&[])?;
        run(async move { command(connection.admin_with(&config).await?, action, connection.output).await })
    }
}

impl Options {
    /// The settings of a client of brokers; `own` are the command's, which options of the user override.
    pub fn config(&self, own: &[(&str, &str)]) -> Result<ClientConfig> {
        let config = self.config_anywhere(own)?;
        if config.is_set("bootstrap.controllers") {
            return Err(Usage(
                "only brokers know what is asked for here: give --bootstrap instead of controllers".into(),
            )
            .into());
        }
        Ok(config)
    }

    /// The settings of a client of brokers or of controllers.
    fn config_anywhere(&self, own: &[(&str, &str)]) -> Result<ClientConfig> {
        let mut config = match &self.client_config {
            Some(file) => ClientConfig::from_file(file)
                .with_context(|| format!("the settings of {}", file.display()))?,
            None => ClientConfig::default(),
        };
        for setting in &self.settings {
            let (name, value) = setting
                .split_once('=')
                .ok_or_else(|| Usage(format!("-X {setting}: a setting is NAME=VALUE")))?;
            config.set(name.trim(), value)?;
        }
        match (&self.bootstrap, &self.bootstrap_controller) {
            // What the environment says of brokers gives way.
            (_, Some(controllers)) => {
                config.set("bootstrap.controllers", controllers)?;
            }
            (Some(servers), None) => {
                config.set("bootstrap.servers", servers)?;
            }
            (None, None) => {}
        }
        if !config.is_set("bootstrap.controllers") && !config.is_set("bootstrap.servers") {
            config.set("bootstrap.servers", BOOTSTRAP_DEFAULT)?;
        }
        let defaults = [
            ("client.id", "ottla"),
            // A port that takes connections and says nothing is told sooner than Kafka's clients would.
            ("socket.connection.setup.timeout.ms", "5000"),
        ];
        let own = defaults.iter().chain(own);
        for (name, value) in own {
            if !config.is_set(name) {
                config.set(name, value)?;
            }
        }
        Ok(config)
    }

    /// An admin client that has reached its cluster.
    pub async fn admin(&self) -> Result<Admin> {
        self.admin_with(&self.config(&[])?).await
    }

    /// As [`Self::admin`], with settings that other clients of the command have too.
    pub async fn admin_with(&self, config: &ClientConfig) -> Result<Admin> {
        let admin = Admin::new(config)?;
        reach(admin.client(), config).await?;
        Ok(admin)
    }
}

/// Waits until a broker has answered, and not for long when none does.
async fn reach(client: &Client, config: &ClientConfig) -> Result<()> {
    let begun = Instant::now();
    let limit = PATIENCE_MAX.min(config.millis("default.api.timeout.ms"));
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let answered = client.updated_metadata_within(limit);
    let mut answered = std::pin::pin!(answered);
    let failure = loop {
        tokio::select! {
            biased;
            answer = &mut answered => match answer {
                Ok(_) => return Ok(()),
                Err(error) => break client.metadata_failure().unwrap_or(error),
            },
            _ = looks.tick() => match client.metadata_failure() {
                Some(failure) if begun.elapsed() >= PATIENCE.min(limit) => break failure,
                _ => {}
            },
        }
    };
    let (node, servers) = match client.peers() {
        Peers::Brokers => ("broker", config.text("bootstrap.servers")),
        Peers::Controllers => ("controller", config.text("bootstrap.controllers")),
    };
    Err(Unreachable(format!("no Kafka {node} answers at {servers}: {failure}")).into())
}

/// Runs a command that speaks to a cluster.
pub fn run<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(bootstrap: Option<&str>, settings: &[&str]) -> Options {
        Options {
            bootstrap: bootstrap.map(str::to_owned),
            bootstrap_controller: None,
            client_config: None,
            settings: settings.iter().map(|setting| setting.to_string()).collect(),
            output: Format::Table,
        }
    }

    #[test]
    fn what_the_user_says_wins() {
        let config = options(None, &[]).config(&[("acks", "1")]).unwrap();
        assert_eq!((config.text("bootstrap.servers"), config.text("acks")), ("localhost:9092", "1"));
        let config =
            options(Some("a:1"), &["bootstrap.servers=b:1", "acks=0"]).config(&[("acks", "1")]).unwrap();
        assert_eq!((config.text("bootstrap.servers"), config.text("acks")), ("a:1", "0"));
        assert_eq!(
            options(None, &["bootstrap.servers=b:1"]).config(&[]).unwrap().text("bootstrap.servers"),
            "b:1"
        );
    }

    #[test]
    fn controllers_are_for_commands_that_they_can_answer() {
        let controllers = |mut options: Options| {
            options.bootstrap_controller = Some("c:1".into());
            options
        };
        let options = controllers(options(Some("a:1"), &[]));
        let config = options.config_anywhere(&[]).unwrap();
        assert_eq!((config.text("bootstrap.controllers"), config.text("bootstrap.servers")), ("c:1", ""));
        assert_eq!(crate::exit::code(&options.config(&[]).unwrap_err()), 2);
    }

    #[test]
    fn wrong_settings_are_wrong_use() {
        for setting in ["acks", "acks=2", "akcs=1"] {
            let error = options(None, &[setting]).config(&[]).unwrap_err();
            assert_eq!(crate::exit::code(&error), 2, "{error}");
        }
    }
}
