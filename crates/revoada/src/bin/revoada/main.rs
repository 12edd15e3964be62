mod commands { pub mod node; }
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    revoada::system::install_crypto();
    let path = std::env::args().nth(3).unwrap();
    commands::node::run(std::path::Path::new(&path)).await
}
