//! A real nginx that checks requests by a sub-request to jeton.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jeton_testkit::{Client, FreePort, nginx_program, stop_nginx};
use tokio::time::{Instant, sleep};

use crate::app::{TestEnv, TestServer, operator};

/// nginx in front of a site.
struct Nginx {
    child: Child,
    port: FreePort,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        stop_nginx(&mut self.child);
    }
}

fn settings(folder: &Path, port: &FreePort, jeton: &str) -> String {
    // Workers of a root run as root too, so that they may read the folder of this test.
    let user = if fs::metadata(folder).unwrap().uid() == 0 { "user root;" } else { "" };
    let (folder, address) = (folder.display(), port.address());
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .join(" ");
    format!(
        r#"{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    {places}
    server {{
        listen {address};
        location / {{
            auth_request /jeton;
            auth_request_set $service $upstream_http_x_jeton_service;
            add_header X-Seen-Service $service always;
            root {folder}/site;
        }}
        location = /jeton {{
            internal;
            proxy_pass {jeton}/api/v1/verify?scope=proxy:acme:$request_method:$request_uri;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
    }}
}}
"#
    )
}

async fn nginx_before(server: &TestServer, folder: &Path) -> Nginx {
    let port = FreePort::find().unwrap();
    let site = folder.join("site/api/v4");
    fs::create_dir_all(&site).unwrap();
    fs::write(site.join("leads"), "the site").unwrap();
    fs::write(folder.join("site/admin"), "the site").unwrap();
    let file = folder.join("nginx.conf");
    fs::write(&file, settings(folder, &port, &format!("http://{}", server.address))).unwrap();
    let log = fs::File::create(folder.join("errors")).unwrap();
    let mut command = Command::new(nginx_program().unwrap());
    command.arg("-p").arg(folder).arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut nginx = Nginx { child: command.spawn().unwrap(), port };
    let started = Instant::now();
    while Client::new(&nginx.port.base_url()).get("/").await.is_err() {
        let errors = || fs::read_to_string(folder.join("errors")).unwrap();
        assert!(nginx.child.try_wait().unwrap().is_none(), "nginx ended: {}", errors());
        assert!(started.elapsed() < Duration::from_secs(20), "nginx does not answer: {}", errors());
        sleep(Duration::from_millis(20)).await;
    }
    nginx
}

#[tokio::test]
async fn nginx_admits_valid_service_tokens_within_their_scopes() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let folder = tempfile::tempdir().unwrap();
    let nginx = nginx_before(&server, folder.path()).await;
    let anonymous = Client::new(&nginx.port.base_url());
    assert_eq!(anonymous.get("/api/v4/leads").await.unwrap().status, 403);
    assert_eq!(
        anonymous.with_header("x-service-token", "wrong").get("/api/v4/leads").await.unwrap().status,
        403
    );

    let (id, raw) = server.create_token("bot1", "proxy:acme:GET:/api/**").await;
    let bot = Client::new(&nginx.port.base_url()).with_header("x-service-token", raw.reveal());
    let admitted = bot.get("/api/v4/leads").await.unwrap();
    assert_eq!((admitted.status.as_u16(), admitted.text().as_str()), (200, "the site"));
    assert_eq!(admitted.headers["x-seen-service"], "bot1");
    let bearer =
        Client::new(&nginx.port.base_url()).with_header("authorization", &format!("Bearer {}", raw.reveal()));
    assert_eq!(bearer.get("/api/v4/leads").await.unwrap().status, 200);
    assert_eq!(bot.get("/admin").await.unwrap().status, 403, "beyond its scope");
    assert_eq!(bot.delete("/api/v4/leads").await.unwrap().status, 403, "a method that it lacks");

    server.access.revoke(id, &operator()).await.unwrap();
    assert_eq!(bot.get("/api/v4/leads").await.unwrap().status, 403, "revoked, at once");
}
