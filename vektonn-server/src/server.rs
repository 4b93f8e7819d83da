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
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use vektonn_index::shard::Shard;
use vektonn_kafka::lifecycle::ShardManager;
use vektonn_kafka::{DataSource, EmbeddedDataSource, EmbeddedOptions};

use crate::app::{App, router};
use crate::body::Bodies;
use crate::catalog::Catalog;
use crate::limits::Limits;
use crate::search_pool::SearchPool;
use crate::telemetry;

/// Says that the data is in Kafka.
const KAFKA_SERVERS: &str = "VEKTONN_KAFKA_BOOTSTRAP_SERVERS";
/// Running requests get this long when the server stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// After an error of accepting connections, such as too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What to serve, and where.
pub(crate) struct ServeOptions {
    /// The configuration directory.
    pub(crate) config: PathBuf,
    /// The data directory of the embedded data source.
    pub(crate) data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub(crate) address: (String, u16),
    pub(crate) limits: Limits,
}

/// A server that answers until it is shut down.
pub(crate) struct RunningServer {
    pub(crate) local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// Starts a server in this process. It answers at once, and serves searches as its shards become ready.
///
/// # Errors
/// One line that tells what is wrong: the port, the configuration, the data directory.
pub(crate) async fn start(options: ServeOptions) -> Result<RunningServer> {
    if std::env::var_os(KAFKA_SERVERS).is_some_and(|servers| !servers.is_empty()) {
        return Err(anyhow!(
            "{KAFKA_SERVERS} is set, but this version keeps its data in --data only: unset it"
        ));
    }
    // First of all, so that a taken port is known before anything slow begins.
    let listener = listen(&options.address)?;
    let local_addr = listener.local_addr().context("cannot tell the listening address")?;
    let config = find_config(&options.config)?;
    let (data, limits) = (options.data, options.limits);
    let app = tokio::task::spawn_blocking(move || open(&config, &data, limits)).await??;
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot listen")?;
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(serve(listener, app, stopping));
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

/// Opens the data source and starts all shards of all indices.
fn open(config: &Path, data: &Path, limits: Limits) -> Result<Arc<App>> {
    let catalog = Catalog::load(config)?;
    let metrics = telemetry::metrics_handle()?;
    let source: Arc<dyn DataSource> = Arc::new(EmbeddedDataSource::open(data, EmbeddedOptions::default())?);
    let shards = ShardManager::new();
    for meta in catalog.indices.values() {
        for shard_id in meta.shards().keys() {
            let shard = Shard::new(Arc::clone(meta), shard_id)?;
            shards.start(Arc::new(shard), Arc::clone(&source))?;
        }
    }
    tracing::info!(
        data_sources = catalog.data_sources.len(),
        indices = catalog.indices.len(),
        data = %data.display(),
        "opened"
    );
    Ok(Arc::new(App {
        bodies: Bodies::new(&limits),
        search_pool: SearchPool::new(limits.searches_max)?,
        requests: Semaphore::new(limits.requests_max),
        catalog,
        source,
        shards,
        limits,
        metrics,
    }))
}

/// Answers connections until told to stop.
async fn serve(listener: tokio::net::TcpListener, app: Arc<App>, mut stopping: watch::Receiver<bool>) {
    let router = router(Arc::clone(&app));
    let header_timeout = Duration::from_secs(app.limits.header_timeout_s);
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
        connect(stream, router.clone(), header_timeout, &connections);
    }
    drop(listener);
    tracing::info!("stopping: no more requests are taken");
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests were still running after {} s", SHUTDOWN_TIMEOUT.as_secs());
    }
    let closed = tokio::task::spawn_blocking(move || {
        app.shards.stop_all();
        drop(router);
        drop(app);
    });
    if closed.await.is_err() {
        tracing::error!("closing the data source failed");
    }
    tracing::info!("stopped");
}

/// Answers one connection, on a task of its own.
fn connect(
    stream: tokio::net::TcpStream,
    router: Router,
    header_timeout: Duration,
    connections: &GracefulShutdown,
) {
    let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut router = router.clone();
        async move {
            let response = tower::Service::call(&mut router, request.map(axum::body::Body::new)).await;
            response as Result<_, Infallible>
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}
