"use strict";
// Looks at the daemon's API and never changes anything. Texts of the cluster are shown as texts.

const PAUSE_MS = 2000;
const EVENTS_SHOWN = 50;
const BLOCK_BYTES = 4096;

const byId = (id) => document.getElementById(id);

function make(tag, text, kind) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = String(text);
  if (kind) element.className = kind;
  return element;
}

function put(parent, children) {
  parent.replaceChildren(...children);
}

function row(...cells) {
  const line = make("tr");
  for (const cell of cells) {
    line.append(cell instanceof Node ? cell : make("td", cell));
  }
  return line;
}

function pairs(list) {
  const all = make("dl");
  for (const [name, value, kind] of list) {
    all.append(make("dt", name));
    const shown = make("dd", value instanceof Node ? undefined : value, kind);
    if (value instanceof Node) shown.append(value);
    all.append(shown);
  }
  return all;
}

function card(title, list) {
  const box = make("article", undefined, "card");
  box.append(make("h3", title), pairs(list));
  return box;
}

function bytes(count) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit + 1 < units.length) {
    count /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? count : count.toFixed(1)} ${units[unit]}`;
}

function host(cluster, node) {
  if (!node) return "nowhere, as far as this node knows";
  const name = cluster.hosts[node === "a" ? 0 : 1];
  return name ? `node ${node} (${name})` : `node ${node}`;
}

async function get(path) {
  // The address of the page may hold a password, the origin does not.
  const answer = await fetch(new URL(path, location.origin), { cache: "no-store" });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ? told.error.message : `${path}: ${answer.status}`);
  return told;
}

function powerOf(resource) {
  const failed = resource.failure ? `: ${resource.failure}` : "";
  return `${resource.name} ${resource.power}${failed}`;
}

function groupCard(cluster, group) {
  const list = [
    ["runs on", host(cluster, group.runs_on)],
    ["here", group.state],
    ["resources", group.resources.map(powerOf).join(", ") || "none"],
    ["may move", group.may_move ? "yes" : "not now", group.may_move ? "green" : "yellow"],
  ];
  if (group.stopped) list.push(["stopped", "by an operator", "yellow"]);
  if (group.barred) list.push(["failed", "here for good", "red"]);
  const away = group.arbiter.trouble ? "does not answer" : "answers";
  list.push(["arbiter", `${away}: ${group.arbiter.store}`, group.arbiter.trouble ? "red" : ""]);
  return card(`group ${group.name}`, list);
}

function progressOf(done, total, words) {
  const box = make("div");
  const bar = make("progress");
  bar.max = Math.max(total, 1);
  bar.value = done;
  bar.setAttribute("aria-label", words);
  box.append(bar, make("div", `${bytes(done * BLOCK_BYTES)} of ${bytes(total * BLOCK_BYTES)} ${words}`));
  return box;
}

function mirrorCard(cluster, mirror, report) {
  const summary = mirror.summary;
  const list = [
    ["state", `${summary.colour}: ${summary.mirror}`, summary.colour],
    ["runs on", host(cluster, summary.runs_on)],
    ["safe to lose", `${summary.safe ? "yes" : "no"}: ${summary.safe_why}`, summary.safe ? "green" : "red"],
    ["RPO", summary.rpo],
    ["next", summary.next],
  ];
  const status = report && report.engine && report.engine.status;
  if (!status) {
    list.push(["engine", "not connected", "red"]);
  } else {
    if (status.mirror === "sync-source" || status.mirror === "sync-target") {
      list.push(["resync", progressOf(status.sync_done_blocks, status.sync_total_blocks, "resynced")]);
    }
    if (status.sync_paused) list.push(["resync", "held back by an operator", "yellow"]);
    if (status.verify_done_blocks !== null) {
      list.push(["compared", bytes(status.verify_done_blocks * BLOCK_BYTES)]);
    }
    list.push(["may differ", bytes(status.dirty_blocks * BLOCK_BYTES)]);
    list.push(["link", status.link, status.link === "up" ? "" : "red"]);
    const counted = status.counters;
    list.push(["since start", `${counted.writes} writes, ${counted.reads} reads, ${counted.errors} errors`]);
  }
  return card(`mirror ${mirror.volume}`, list);
}

const PARTS = { takes: "takes part", suspended: "decides nothing by itself: suspended", stopped: "takes no part" };

function partOf(part) {
  return PARTS[part] || part || "unknown";
}

function silence(ms) {
  return ms === null ? "never heard" : `heard ${ms} ms ago`;
}

function showCluster(cluster, reports) {
  document.title = `${cluster.safe ? "" : "! "}${cluster.cluster.name}, node ${cluster.node}`;
  byId("title").textContent = `${cluster.cluster.name}, seen from ${host(cluster, cluster.node)}`;
  const safe = byId("safe");
  safe.textContent = cluster.safe ? "safe to lose any one node" : "not safe to lose a node";
  safe.className = `badge ${cluster.safe ? "green" : "red"}`;
  byId("seen").textContent = `as of ${new Date().toLocaleTimeString()}`;
  byId("alarms").hidden = cluster.alarms.length === 0;
  put(byId("alarms").querySelector("ul"), cluster.alarms.map((alarm) => make("li", alarm)));
  put(byId("groups"), cluster.groups.map((group) => groupCard(cluster, group)));
  const mirrors = cluster.groups.flatMap((group) => group.mirrors);
  put(byId("mirrors"), mirrors.map((mirror) => mirrorCard(cluster, mirror, reports.get(mirror.volume))));
  const peer = cluster.node === "a" ? "b" : "a";
  put(byId("cluster").tBodies[0], [
    row(make("th", "this node"), cluster.leaving ? "being stopped" : partOf(cluster.part)),
    row(make("th", host(cluster, peer)), `${silence(cluster.peer.heard_ms_ago)}, ${partOf(cluster.peer.part)}`),
    ...cluster.interconnects.map((path) =>
      row(make("th", `interconnect ${path.name}`), make("td", `${path.up ? "up" : "silent"}, ${silence(path.heard_ms_ago)}`, path.up ? "" : "red"))),
  ]);
  byId("monitors").hidden = cluster.monitors.length === 0;
  put(byId("monitors").querySelector("tbody"), cluster.monitors.map((monitor) =>
    row(make("th", monitor.name), make("td", `${monitor.health}${monitor.suspended ? ", suspended" : ""}${monitor.cause ? `: ${monitor.cause}` : ""}`, monitor.health === "error" ? "red" : ""))));
}

function showEvents(events) {
  const kinds = { warning: "yellow", alarm: "red" };
  put(byId("events").tBodies[0], events.reverse().map((event) =>
    row(event.number, new Date(event.at_ms).toLocaleString(), make("td", event.weight, kinds[event.weight]), event.message)));
}

async function look() {
  try {
    const cluster = await get("/v1/status");
    const volumes = cluster.groups.flatMap((group) => group.mirrors.map((mirror) => mirror.volume));
    const reports = new Map();
    for (const volume of volumes) {
      reports.set(volume, await get(`/v1/volumes/${encodeURIComponent(volume)}`));
    }
    showCluster(cluster, reports);
    showEvents(await get(`/v1/events?most=${EVENTS_SHOWN}`));
    document.body.dataset.looked = "yes";
  } catch (error) {
    const safe = byId("safe");
    safe.textContent = "no answer of the daemon; what stands below is old";
    safe.className = "badge red";
    byId("seen").textContent = error.message;
  }
  setTimeout(look, document.hidden ? PAUSE_MS * 5 : PAUSE_MS);
}

look();
