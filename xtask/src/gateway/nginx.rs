//! The peer: nginx with `proxy_pass` and open connections, which puts no token in.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jeton_testkit::{Client, FreePort, stop_nginx};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(10);

/// A running nginx. It ends when the value is dropped.
pub(super) struct Nginx {
    child: Child,
    port: FreePort,
    _folder: TempDir,
}

impl Nginx {
    /// Starts one before the API at `base_url`; `None` where it is not installed.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn start(base_url: &str) -> Result<Option<Self>> {
        let Ok(program) = jeton_testkit::nginx_program() else { return Ok(None) };
        let port = FreePort::find()?;
        let folder = tempfile::tempdir().context("making a folder for nginx")?;
        let settings = folder.path().join("nginx.conf");
        fs::write(&settings, text(&folder, &port, base_url)?).context("writing nginx.conf")?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&settings)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting nginx")?;
        let nginx = Self { child, port, _folder: folder };
        let (client, begun) = (Client::new(&nginx.base_url()), Instant::now());
        while let Err(error) = client.get_json("/small").await {
            if begun.elapsed() > PATIENCE {
                bail!("nginx does not answer: {error:#}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Some(nginx))
    }

    pub(super) fn base_url(&self) -> String {
        self.port.base_url()
    }
}

fn text(folder: &TempDir, port: &FreePort, base_url: &str) -> Result<String> {
    // Workers of a root run as root too, so that they may use the folder of this run.
    let root = fs::metadata(folder.path()).context("looking at the folder of nginx")?.uid() == 0;
    let user = if root { "user root;" } else { "" };
    let api = base_url.strip_prefix("http://").context("plain http on loopback is spoken here")?;
    let (folder, address) = (folder.path().display(), port.address());
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .join(" ");
    Ok(format!(
        r#"{user}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log {folder}/access.log;
    keepalive_requests 100000000;
    {places}
    upstream api {{
        server {api};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://api;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"#
    ))
}

impl Drop for Nginx {
    fn drop(&mut self) {
        stop_nginx(&mut self.child);
    }
}
