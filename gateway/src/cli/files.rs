//! What the commands about files of rules and flows take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegate_policy::Verdict;
use tidegate_policy::import::Format;

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// The other rules: a configuration file, with the folder rules.d beside it
    #[arg(long, value_name = "FILE")]
    pub(super) rules: PathBuf,
    /// Recorded flows, as `tidegate flows --json` writes them
    #[arg(long, value_name = "FILE")]
    pub(super) flows: PathBuf,
    /// Print JSON: a line for each flow that would change, then one that sums up
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct FmtArgs {
    /// Change nothing; name the files that are not formatted, and fail if there are any
    #[arg(long)]
    pub(super) check: bool,
    /// Rule files
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Whose rules they are
    #[arg(value_enum, required_unless_present = "confirm", requires = "path")]
    pub(super) format: Option<FormatArg>,
    /// The file, or a folder of files
    #[arg(value_name = "PATH")]
    pub(super) path: Option<PathBuf>,
    /// Name of the import [default: from the file's name]
    #[arg(long, value_name = "NAME", value_parser = import_name)]
    pub(super) name: Option<String>,
    /// What is done with what a rule set or a list names: these do not say it themselves
    #[arg(long, value_name = "ACTION", value_enum, default_value_t)]
    pub(super) action: ActionArg,
    /// Print the rules; write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Put an import in force
    #[arg(long, value_name = "NAME", value_parser = import_name, conflicts_with_all = ["format", "name", "action", "dry_run"])]
    pub(super) confirm: Option<String>,
    /// Configuration file [default: /etc/tidegate/tidegate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// For whom
    #[arg(value_enum)]
    pub(super) format: FormatArg,
    /// The rule file
    #[arg(long, value_name = "FILE")]
    pub(super) rules: PathBuf,
    /// Which rules go into a rule set or a list, which do not say what is to be done
    #[arg(long, value_name = "ACTION", value_enum, default_value_t)]
    pub(super) action: ActionArg,
    /// A new file, or a folder for opensnitch [default: standard output]
    #[arg(long, value_name = "PATH", required_if_eq("format", "opensnitch"))]
    pub(super) to: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatArg {
    /// OpenSnitch: a rule, or a folder of them
    #[value(name = "opensnitch")]
    OpenSnitch,
    /// Little Snitch
    #[value(name = "lsrules")]
    LittleSnitch,
    /// LuLu: an export
    Lulu,
    /// Portmaster: an exported application, settings, or one setting
    Portmaster,
    /// sing-box: a rule set in its source form
    SingBox,
    /// Clash or mihomo: a rule provider in YAML or text
    Clash,
    /// A filter list: hosts, AdGuard, Pi-hole and the like
    List,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::OpenSnitch => Self::OpenSnitch,
            FormatArg::LittleSnitch => Self::LittleSnitch,
            FormatArg::Lulu => Self::Lulu,
            FormatArg::Portmaster => Self::Portmaster,
            FormatArg::SingBox => Self::SingBox,
            FormatArg::Clash => Self::Clash,
            FormatArg::List => Self::List,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ActionArg {
    Allow,
    #[default]
    Block,
    Drop,
}

impl From<ActionArg> for Verdict {
    fn from(action: ActionArg) -> Self {
        match action {
            ActionArg::Allow => Self::Allow,
            ActionArg::Block => Self::Block,
            ActionArg::Drop => Self::Drop,
        }
    }
}

/// It becomes a part of a file's name.
fn import_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err("use up to 64 letters, digits, `-` and `_`".to_owned())
}
