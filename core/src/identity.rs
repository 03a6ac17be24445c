//! Identity files: a peer's secret key, and the UDP port it keeps.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use aster_proto::status::{Code, Status};
use iroh::SecretKey;
use serde::{Deserialize, Serialize};

/// What an identity file holds: TOML, mode 0600, written in one step.
pub(crate) struct Identity {
    path: PathBuf,
    pub(crate) key: SecretKey,
    pub(crate) port: Option<u16>,
}

#[derive(Serialize, Deserialize)]
struct File {
    node: Node,
    /// Sections of other parts of Aster are kept as they are.
    #[serde(flatten)]
    rest: toml::Table,
}

#[derive(Serialize, Deserialize)]
struct Node {
    secret_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(flatten)]
    rest: toml::Table,
}

fn fail(path: &Path, what: impl std::fmt::Display) -> Status {
    Status::unsent(
        Code::FAILED_PRECONDITION,
        format!("identity file {}: {what}", path.display()),
    )
}

impl Identity {
    /// Reads an identity file, or makes one with a fresh key.
    pub(crate) fn open(path: &Path) -> Result<Self, Status> {
        let path = expand(path);
        match fs::read_to_string(&path) {
            Ok(text) => {
                warn_if_readable(&path);
                Self::parse(path, &text)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let identity = Self {
                    path,
                    key: SecretKey::generate(),
                    port: None,
                };
                identity.write(None)?;
                Ok(identity)
            }
            Err(error) => Err(fail(
                &path,
                format_args!("can't be read ({error}): check its path and permissions"),
            )),
        }
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self, Status> {
        // The parser's own error quotes the line it failed in, which may hold the key.
        let file: File = toml::from_str(text)
            .map_err(|_| fail(&path, "is not an identity file (TOML with a [node] section and its secret_key): name another, or move it away to get a new one"))?;
        let bad = || {
            fail(
                &path,
                "has a secret_key that is not 64 hex digits: restore it from a backup, or move it away to get a new identity",
            )
        };
        let hex = file.node.secret_key.trim();
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0u8; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self {
            path,
            key: SecretKey::from_bytes(&bytes),
            port: file.node.port,
        })
    }

    /// Writes the port down, so that the next start takes the same.
    pub(crate) fn keep_port(&mut self, port: u16) -> Result<(), Status> {
        if self.port == Some(port) {
            return Ok(());
        }
        self.port = Some(port);
        let before = fs::read_to_string(&self.path)
            .ok()
            .and_then(|text| toml::from_str(&text).ok());
        self.write(before)
    }

    fn write(&self, before: Option<File>) -> Result<(), Status> {
        let key: String = self
            .key
            .to_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let (rest, node_rest) =
            before.map_or_else(Default::default, |file| (file.rest, file.node.rest));
        let endpoint_id = Some(self.key.public().to_string());
        let file = File {
            node: Node {
                secret_key: key,
                endpoint_id,
                port: self.port,
                rest: node_rest,
            },
            rest,
        };
        let text = toml::to_string(&file).map_err(|error| fail(&self.path, error))?;
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let draft = folder.join(format!(".{name}.{}.new", std::process::id()));
        let written =
            write_private(&draft, text.as_bytes()).and_then(|()| fs::rename(&draft, &self.path));
        written.map_err(|error| {
            // Whatever is left of the draft must not lie about.
            let _ = fs::remove_file(&draft);
            fail(
                &self.path,
                format_args!(
                    "can't be written ({error}): check that its folder exists and is writable"
                ),
            )
        })
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// `~` at the start of a path, as a shell reads it.
fn expand(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(unix)]
fn warn_if_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Ok(meta) = fs::metadata(path)
        && meta.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(target: "aster", "identity file {} can be read by others: run chmod 600 on it", path.display());
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_: &Path) {}
