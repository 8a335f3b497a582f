//! TLS to a real server, with the meanings of libpq's `sslmode`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use faultline_cluster::{Cluster, Programs};
use faultline_store::{Database, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A certificate for `localhost` and the authority that signed it, as files; the key belongs to the server's account.
fn certificates(dir: &Path, cluster: &Cluster) -> [PathBuf; 3] {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &authority).unwrap();
    let files = ["ca.crt", "server.crt", "server.key"].map(|name| dir.join(name));
    std::fs::write(&files[0], authority.pem()).unwrap();
    std::fs::write(&files[1], certificate.pem()).unwrap();
    std::fs::write(&files[2], key.serialize_pem()).unwrap();
    let owner = std::fs::metadata(cluster.data_dir()).unwrap();
    std::fs::set_permissions(&files[2], PermissionsExt::from_mode(0o600)).unwrap();
    chown(&files[2], Some(owner.uid()), Some(owner.gid())).unwrap();
    files
}

/// Whether a session opened with these parameters is encrypted.
async fn encrypted(cluster: &Cluster, host: &str, parameters: &str) -> Result<bool> {
    let url = format!("postgres://faultline@{host}:{}/postgres?{parameters}", cluster.port());
    let database = Database::new(&url, "tls test", 1)?;
    database
        .run(async |client| {
            let row = client.query_one("select ssl from pg_stat_ssl where pid = pg_backend_pid()", &[]).await?;
            Ok(row.get(0))
        })
        .await
}

#[tokio::test]
async fn sslmode_means_what_it_means_to_libpq() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    let [authority, certificate, key] = certificates(dir.path(), &cluster);
    assert!(!encrypted(&cluster, "localhost", "sslmode=prefer").await.unwrap(), "the server does not offer it yet");
    let unencrypted = encrypted(&cluster, "localhost", "sslmode=require").await.unwrap_err().to_string();
    assert!(unencrypted.contains("TLS"), "{unencrypted}");

    for (name, value) in [("ssl_cert_file", certificate), ("ssl_key_file", key), ("ssl", PathBuf::from("on"))] {
        match cluster.psql("postgres", &format!("alter system set {name} = '{}'", value.display())) {
            // The server programs of Python packages come without it.
            Err(error) if error.to_string().contains("not supported by this build") => {
                return println!("skipped: this server was built without TLS");
            }
            answer => drop(answer.unwrap()),
        }
    }
    cluster.psql("postgres", "select pg_reload_conf()").unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while !encrypted(&cluster, "localhost", "sslmode=prefer").await.unwrap() {
        assert!(Instant::now() < until, "{}", cluster.log_tail(10));
    }

    let root = format!("sslrootcert={}", authority.display());
    assert!(!encrypted(&cluster, "localhost", "sslmode=disable").await.unwrap());
    assert!(encrypted(&cluster, "127.0.0.1", "sslmode=require").await.unwrap(), "any certificate, any name");
    assert!(encrypted(&cluster, "localhost", &format!("sslmode=verify-full&{root}")).await.unwrap());
    for (host, parameters, wrong) in [
        ("localhost", "sslmode=verify-full", "UnknownIssuer"),
        ("127.0.0.1", &*format!("sslmode=verify-full&{root}"), "not valid for name"),
        ("localhost", "sslmode=verify-full&sslrootcert=/nonexistent", "sslrootcert /nonexistent"),
    ] {
        let error = encrypted(&cluster, host, parameters).await.unwrap_err().to_string();
        assert!(error.contains(wrong), "{parameters}: {error}");
    }
}
