//! What may be built into Magpie: licences, and crates that must stay out. Every line has its reason.

/// Licences that are permitted, each permissive and compatible with Apache-2.0. Of an `OR` one
/// suffices, of an `AND` all must be here.
pub(super) const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    // Boost's: like MIT, without the notice in binaries.
    "BSL-1.0",
    // Lists of the web's certificate authorities: a licence for data.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    // Data of the Unicode consortium in normalisation and identifier tables.
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must not enter, and why.
pub(super) const BANNED: [(&str, &str); 6] = [
    (
        "openssl",
        "TLS is rustls with ring, not a second stack in C that each machine must have",
    ),
    (
        "openssl-sys",
        "TLS is rustls with ring, not a second stack in C that each machine must have",
    ),
    ("native-tls", "it stands for OpenSSL on Linux"),
    (
        "aws-lc-rs",
        "with two providers linked, rustls refuses to choose",
    ),
    (
        "aws-lc-sys",
        "it needs cmake, and a second provider of cryptography",
    ),
    (
        "aws-lc-fips-sys",
        "it needs cmake and Go, and is a second provider of cryptography",
    ),
];
