//! The configuration of one node's daemon with one volume (`daemon.toml`) as a view of a cluster:
//! one group of that name, with the mirror as its only resource, and no monitors.

use crate::act::resource::spec::Spec;
use crate::config::cluster::{
    ArbiterSpec, AwsSpec, EngineProcess, EngineView, Group, HeartbeatLink, HeartbeatView, Host,
    NodeView,
};
use crate::config::{ArbiterConfig, Config, Named};
use crate::decide::settings::{FinalAction, GroupSettings, ResourceKind, ResourceSettings};
use lockstep_engine::config::ConfigError as EngineConfigError;
use lockstep_engine::config::EngineConfig;
use lockstep_engine::units::{NodeId, Span};
use std::path::PathBuf;

/// Time for a mirror to come or go.
const MIRROR_TIMEOUT: Span = Span::millis(60_000);
/// Events that are kept.
const EVENTS_KEPT: u32 = 10_000;

/// The view.
///
/// # Errors
/// The engine's file is wrong.
pub fn view_of(config: &Config) -> Result<NodeView, EngineConfigError> {
    let engine = EngineConfig::load(&config.engine_config)?;
    let group = group_of(config);
    let link = HeartbeatLink {
        name: "heartbeat".to_owned(),
        priority: 1,
        mirror: true,
        bind: config.heartbeat.bind,
        peer: config.heartbeat.peer,
    };
    let admin = config.engine_socket.clone();
    Ok(NodeView {
        forced_stop: None,
        node: config.node,
        hosts: [Host::default(), Host::default()],
        cluster: config.cluster.clone(),
        key_file: config.key_file.clone(),
        observe_only: false,
        // A lab's nodes share a host that is not theirs.
        harmless: true,
        run_dir: config.runtime_dir.clone(),
        state_dir: config.state_dir.clone(),
        config_dir: config.engine_config.parent().map_or_else(PathBuf::new, PathBuf::from),
        daemon_socket: config.daemon_socket.clone(),
        engine_process: EngineProcess {
            spawn: config.spawn_engine,
            program: config.engine_program.clone(),
        },
        engines: vec![EngineView {
            config: EngineConfig { admin, ..engine },
            group: Named { id: config.group.id, name: config.group.name.clone() },
            path: config.engine_config.clone(),
            // The file is the operator's own: nothing is rendered over it.
            text: String::new(),
            digest: String::new(),
            device: None,
        }],
        groups: vec![group],
        monitors: Vec::new(),
        heartbeat: HeartbeatView { interval: config.heartbeat.interval, links: vec![link] },
        arbiter: match &config.arbiter {
            ArbiterConfig::Directory(root) => ArbiterSpec::Directory(root.clone()),
        },
        aws: AwsSpec::default(),
        api: None,
        times: config.times,
        events_kept: EVENTS_KEPT,
        lab_boot_id: config.lab_boot_id,
    })
}

/// One group of one mirror, which starts when an operator says so.
fn group_of(config: &Config) -> Group {
    Group {
        settings: GroupSettings {
            id: config.group.id,
            name: config.group.name.clone(),
            startup_auto: false,
            failover_auto: config.auto_takeover,
            failback_auto: false,
            nodes: [NodeId::A, NodeId::B],
            volumes: vec![config.volume.id],
            resources: vec![ResourceSettings {
                name: config.volume.name.clone(),
                kind: ResourceKind::Mirror(config.volume.id),
                after: Vec::new(),
                start_timeout: MIRROR_TIMEOUT,
                stop_timeout: MIRROR_TIMEOUT,
                start_retries: 0,
                failovers_max: 0,
                start_failed: FinalAction::None,
                stop_failed: FinalAction::None,
            }],
        },
        specs: vec![Spec::Mirror(config.volume.id)],
        implicit: true,
    }
}
