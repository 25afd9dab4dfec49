//! Certificates for `localhost`, made anew for each test by an authority of its own.

use std::path::PathBuf;

use cardlens_query::pg::Tls;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority, and a certificate that it gave.
pub struct Papers {
    /// The authority's own certificate, as a file.
    pub authority: PathBuf,
    /// The certificate for `localhost` with its key.
    pub tls: Tls,
    _folder: TempDir,
}

impl Papers {
    /// Makes both.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the name of what it signs it would be taken for that itself.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().unwrap();
        let authority = folder.path().join("authority.pem");
        std::fs::write(&authority, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let files = [folder.path().join("gateway.pem"), folder.path().join("gateway.key")];
        std::fs::write(&files[0], certificate.pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        let tls = Tls::read(&files[0], &files[1]).unwrap();
        Self { authority, tls, _folder: folder }
    }
}
