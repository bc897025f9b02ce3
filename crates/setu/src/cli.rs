//! The command line: what `setu --help` says.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// A self-hosted bridge for WhatsApp Business calls.
///
/// Setu accepts calls from Meta over SIP/TLS and connects them to your agents: to Asterisk, FreeSWITCH or any PBX
/// by a trunk, or to softphones that register with it. It carries the audio itself (SRTP, Opus passed through),
/// records both sides into one file, and leaves one record of each call.
#[derive(Debug, Parser)]
#[command(name = "setu", version, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
First steps:
  setu demo                         a call in each direction, with no set-up
  setu example-config > setu.toml   a configuration with every setting explained
  setu check -c setu.toml           what is wrong with it, and what to do about it
  setu serve -c setu.toml           run the bridge

Environment:
  SETU_LOG   log filter that overrides log.level, such as info,setu_sip=debug

Signals of `serve`:
  TERM, INT  take no new calls, leave when the last one ends; again: end all calls
  HUP        read configuration, passwords, certificates again; live calls go on";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the bridge.
    Serve {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read the configuration as a stranger would see its effect, and say what is wrong with it.
    ///
    /// Looks at the certificate chain and the name it covers, free ports, DNS, whether trunks answer OPTIONS, and
    /// whether the folders can be written and the database lets the bridge in. Each finding comes with its remedy. Nothing is started and nothing is
    /// called. Exit code 0: all well; 1: something will not work; 2: the configuration cannot be read.
    Check {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Print the findings as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a call in each direction between a stand-in for Meta and a stand-in for an agent, through a real bridge.
    ///
    /// Everything runs on 127.0.0.1 with certificates made for the occasion. Exit code 0 only if both sides heard
    /// the other's tone and the recordings hold both tones.
    Demo {
        /// Print one JSON object instead of the ladder diagrams.
        #[arg(long)]
        json: bool,
        /// Where recordings and records go; made if it does not exist.
        #[arg(long, value_name = "FOLDER", default_value = "setu-demo")]
        folder: PathBuf,
    },
    /// Say how the numbers' settings at Meta differ from the configuration, and make them so.
    ///
    /// Without more it only looks: what differs, and the requests that would mend it, in their order. Every request is read
    /// back. Access tokens come from files or the environment that the configuration names. Exit code 0: all is as configured;
    /// 1: it is not, or could not be asked; 2: the configuration cannot be read.
    Provision(ProvisionArgs),
    /// Run the stand-in for Meta's SIP edge and Graph alone, to try a bridge against it.
    Twin(Box<TwinArgs>),
    /// Print a configuration file with every setting explained.
    ExampleConfig,
}

/// What `setu provision` may be told.
#[derive(Debug, clap::Args)]
pub struct ProvisionArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Make the settings as configured, and write the SIP passwords to the files that the configuration names.
    #[arg(long, conflicts_with_all = ["report", "json"])]
    pub apply: bool,
    /// Have Meta make a new SIP password for this number. Its calls are disabled for a moment.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["apply", "report", "json"])]
    pub rotate_password: Option<String>,
    /// Say as well what Meta looks at before a number may call, and what is missing.
    #[arg(long)]
    pub report: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What `setu twin` may be told.
#[derive(Debug, clap::Args)]
pub struct TwinArgs {
    /// Where the twin's SIP edge listens (TLS): not on 5061, where the bridge does.
    #[arg(long, default_value = "127.0.0.1:5063", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// The folder for the test CA and certificates; reused when it exists. Put `ca.pem` into the bridge's
    /// `meta.extra_roots`.
    #[arg(long, default_value = "setu-twin", value_name = "FOLDER")]
    pub folder: PathBuf,
    /// A JSON file with the twin's quirks; `--print-quirks` prints the defaults.
    #[arg(long, value_name = "FILE")]
    pub quirks: Option<PathBuf>,
    /// Print every quirk switch with its default, as JSON, and exit.
    #[arg(long)]
    pub print_quirks: bool,
    /// Make a certificate for this bridge host name in the folder (`bridge.pem`, `bridge.key`).
    #[arg(long, value_name = "HOSTNAME")]
    pub bridge_hostname: Option<String>,
    /// Call the bridge at this address (host name checked against its certificate is `--bridge-hostname`).
    #[arg(long, value_name = "ADDRESS", requires = "bridge_hostname")]
    pub call: Option<SocketAddr>,
    /// The business number: who is called, and whose password the twin knows.
    #[arg(long, default_value = "+911234567890")]
    pub number: String,
    /// The number's SIP password is read from this environment variable.
    #[arg(long, default_value = "SETU_TWIN_PASSWORD", value_name = "NAME")]
    pub password_env: String,
    /// The customer's number.
    #[arg(long, default_value = "+919876543210")]
    pub customer: String,
    /// Where the twin's Graph side listens (HTTPS), for a number with `signalling = "graph"` and for `setu provision`.
    #[arg(long, value_name = "ADDRESS")]
    pub graph: Option<SocketAddr>,
    /// Meta's id of the number, for the Graph side.
    #[arg(long, default_value = "106540352242922", value_name = "ID")]
    pub number_id: String,
    /// The access token of the Graph side is read from this environment variable.
    #[arg(long, default_value = "SETU_TWIN_TOKEN", value_name = "NAME")]
    pub token_env: String,
    /// Where the Graph side sends webhooks, in clear.
    #[arg(long, default_value = "127.0.0.1:9061", value_name = "ADDRESS")]
    pub webhooks: SocketAddr,
    /// The secret that signs them is read from this environment variable.
    #[arg(long, default_value = "SETU_TWIN_APP_SECRET", value_name = "NAME")]
    pub app_secret_env: String,
    /// Let a WhatsApp user call the number by Graph.
    #[arg(long, requires = "graph")]
    pub graph_call: bool,
    /// How long a call that the twin makes lasts, in seconds.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
}
