//! A running server: from configuration to listening, and back to nothing.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_io_timeout::TimeoutStream;
use vektonn_kafka::{DataSource, EmbeddedDataSource, EmbeddedOptions};

use crate::app::{App, Role, router};
use crate::catalog::CatalogFiles;
use crate::drain::drained;
use crate::keeper::{Holding, Keeper};
use crate::limits::Limits;
use crate::remote::RemoteClient;
use crate::telemetry;

/// Running requests get this long when the server stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// After an error of accepting connections, such as too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What to serve, and where.
pub(crate) struct ServeOptions {
    /// The configuration directory.
    pub(crate) config: PathBuf,
    pub(crate) role: Role,
    pub(crate) source: SourceOptions,
    /// Where to listen; port 0 takes a free one.
    pub(crate) address: (String, u16),
    pub(crate) limits: Limits,
}

/// Where the data is.
pub(crate) enum SourceOptions {
    /// In a directory of this machine.
    Directory(PathBuf, EmbeddedOptions),
    /// In an opened data source. Vectors of compact indices are kept in files of the directory, or where the system keeps
    /// temporary ones.
    Open { source: Arc<dyn DataSource>, vectors: Option<PathBuf> },
}

/// A server that answers until it is shut down.
pub(crate) struct RunningServer {
    pub(crate) local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// Starts a server in this process. It answers once the data source is open, and serves searches as its shards become ready.
///
/// # Errors
/// One line that tells what is wrong: the port, the configuration, the data directory.
pub(crate) async fn start(options: ServeOptions) -> Result<RunningServer> {
    // First of all, so that a taken port is known before anything slow begins.
    let listener = listen(&options.address)?;
    let local_addr = listener.local_addr().context("cannot tell the listening address")?;
    let (router, app, keeper) = tokio::task::spawn_blocking(move || open(options)).await??;
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot listen")?;
    let (stop, stopping) = watch::channel(false);
    let watched = Arc::clone(&app);
    let watching =
        tokio::spawn(async move { tokio::join!(watched.reach_log(), watched.check_remote_shards()) });
    let serving = tokio::spawn(async move {
        serve(listener, router, &app.limits, stopping).await;
        watching.abort();
        let _ = watching.await;
        close(keeper, app).await;
    });
    Ok(RunningServer { local_addr, stop, serving })
}

impl RunningServer {
    /// Takes no more requests, finishes the running ones, stops the shards and closes the data source.
    pub(crate) async fn shutdown(self) {
        let _ = self.stop.send(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the server did not stop as it should");
        }
    }
}

fn listen((host, port): &(String, u16)) -> Result<TcpListener> {
    let listener = TcpListener::bind((host.as_str(), *port)).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there already".to_owned(),
            _ => error.to_string(),
        };
        anyhow!("cannot listen on {host}:{port}: {why}")
    })?;
    listener.set_nonblocking(true).context("cannot listen")?;
    Ok(listener)
}

/// The configuration directory: as given, or for a relative name that is not in the working directory, looked for
/// from the program's directory upwards.
fn find_config(config: &Path) -> Result<PathBuf> {
    if config.is_dir() {
        return Ok(config.to_owned());
    }
    if config.is_relative() {
        let program = std::env::current_exe().unwrap_or_default();
        let found =
            program.ancestors().skip(1).map(|directory| directory.join(config)).find(|path| path.is_dir());
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(anyhow!("there is no configuration directory {}", config.display()))
}

/// Opens the data source and all shards.
fn open(options: ServeOptions) -> Result<(Router, Arc<App>, Keeper)> {
    let ServeOptions { config, role, source, limits, .. } = options;
    // Before anything is counted.
    let metrics = telemetry::metrics_handle()?;
    let files = CatalogFiles { base: find_config(&config)?, with_topology: matches!(role, Role::Api) };
    // Before the data source is opened: what is wrong with the files should not wait for that.
    let catalog = files.load()?;
    let (source, vectors): (Arc<dyn DataSource>, _) = match source {
        SourceOptions::Directory(data, options) => {
            (Arc::new(EmbeddedDataSource::open(&data, options)?), data)
        }
        SourceOptions::Open { source, vectors } => {
            // A process that keeps nothing in files may well run where none can be made.
            if vectors.is_some() || !matches!(role, Role::Api) && catalog.keeps_vectors_in_files() {
                check_directory(vectors.as_deref().unwrap_or(&std::env::temp_dir()))?;
            }
            (source, vectors.unwrap_or_else(std::env::temp_dir))
        }
    };
    let holding = match &role {
        Role::Whole => Holding::Everything,
        Role::Api => Holding::Elsewhere(RemoteClient::new()?),
        Role::IndexShard { index, shard_id } => {
            Holding::OneShard { index: index.clone(), shard_id: shard_id.clone() }
        }
    };
    let keeper = Keeper::open(files, catalog, holding, Arc::clone(&source), vectors)?;
    let app = App::new(Arc::clone(keeper.served()), source, limits, metrics)?;
    let app = Arc::new(app);
    Ok((router(Arc::clone(&app), &role)?, app, keeper))
}

/// Makes sure that files can be made in a directory, which is made if there is none.
fn check_directory(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)
        .and_then(|()| tempfile::tempfile_in(directory))
        .map(drop)
        .with_context(|| format!("cannot make files in the data directory {}", directory.display()))
}

/// Answers connections until told to stop, and then what is running.
async fn serve(
    listener: tokio::net::TcpListener,
    router: Router,
    limits: &Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let connections = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
            // A value is sent once, to stop; the sender goes away with the server.
            _ = stopping.changed() => break,
        };
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        connect(stream, router.clone(), limits, &connections);
    }
    drop(listener);
    tracing::info!("stopping: no more requests are taken");
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests were still running after {} s", SHUTDOWN_TIMEOUT.as_secs());
    }
}

/// Stops the shards and closes the data source.
async fn close(keeper: Keeper, app: Arc<App>) {
    let closed = tokio::task::spawn_blocking(move || {
        drop(keeper);
        drop(app);
    });
    if closed.await.is_err() {
        tracing::error!("closing the data source failed");
    }
    tracing::info!("stopped");
}

/// Answers one connection, on a task of its own.
fn connect(stream: tokio::net::TcpStream, router: Router, limits: &Limits, connections: &GracefulShutdown) {
    // A client that does not read its answer must not keep it in memory for ever.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(Duration::from_secs(limits.body_pause_s_max)));
    let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut router = router.clone();
        async move {
            let response = tower::Service::call(&mut router, drained(request)).await;
            response as Result<_, Infallible>
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The time begins when a connection has nothing to do.
        .header_read_timeout(Duration::from_secs(limits.header_timeout_s))
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service));
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}
