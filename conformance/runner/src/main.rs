//! The command: `aster-conformance --help`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aster_conformance::proxy::Flip;
use aster_conformance::run::{Runner, Selection};
use lexopt::prelude::*;

const HELP: &str = "\
Runs the conformance scenarios between all languages.

  --only TEXT     scenarios whose name contains TEXT; may be given several times
  --pairs C:S     client language C with server language S; raw and * are allowed; may be given several times
  --list          print the names of the scenarios and end
  --through       pairs talk through a peer that passes every byte on
  --flip K:N      pairs talk through a peer that turns round one bit of byte N of what the client sends
                  on streams of kind K (1 control, 2 call, 3 lane, 5 body): the run has to fail
  --quiet         print failures and the closing line only
  --help          this text

Exit code 0: all passed. 1: something failed. 2: the command line or the suite itself is wrong.";

fn selection() -> Result<Option<(Selection, bool, bool)>, lexopt::Error> {
    let mut selection = Selection::default();
    let (mut list, mut quiet) = (false, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("only") => selection.only.push(parser.value()?.string()?),
            Long("pairs") => selection.pairs.push(parser.value()?.string()?),
            Long("list") => list = true,
            Long("quiet") => quiet = true,
            Long("through") => selection.proxy = Some(None),
            Long("flip") => {
                let given = parser.value()?.string()?;
                let parts = given
                    .split_once(':')
                    .and_then(|(kind, at)| Some((kind.parse().ok()?, at.parse().ok()?)));
                let (kind, at) =
                    parts.ok_or_else(|| format!("--flip {given}: two numbers K:N are needed"))?;
                selection.proxy = Some(Some(Flip { kind, at }));
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some((selection, list, quiet)))
}

fn run() -> Result<bool, String> {
    let given = selection().map_err(|error| error.to_string())?;
    let Some((selection, list, quiet)) = given else {
        println!("{HELP}");
        return Ok(true);
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root
        .canonicalize()
        .map_err(|error| format!("{}: {error}", root.display()))?;
    let bin = std::env::current_exe()
        .map_err(|error| format!("the runner does not know where it lies: {error}"))?;
    let bin = bin.parent().map(PathBuf::from).unwrap_or_default();
    let report = move |line: &str| {
        if !quiet || !line.starts_with("ok") {
            println!("{line}");
        }
    };
    let runner = Runner::new(&root, &bin, selection, Box::new(report))?;
    if list {
        for name in runner.list() {
            println!("{name}");
        }
        return Ok(true);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let tally = runtime.block_on(runner.run())?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.passed + tally.failed == 0 {
        return Err("nothing was selected: look at --list".to_owned());
    }
    Ok(tally.failed == 0)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("aster-conformance: {error}");
            ExitCode::from(2)
        }
    }
}
