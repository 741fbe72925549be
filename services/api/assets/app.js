// The page: live counters and calls by server-sent events, nodes, blocks and alerts every second, one call on a click.

import { $, ask, clock, el, fill, post, seconds, span, words } from "/dom.js";
import { Chart } from "/chart.js";
import { drawLadder } from "/ladder.js";

const REFRESH_MS = 1000, RETRY_MS = 2000;
const chart = new Chart($("chart"));
const view = { filtered: false, numbers: false, paged: false, rows: [], next: null, skewUs: 0 };
const numbers = () => (view.numbers ? "full" : "masked");

// ── live ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
function connect() {
  const source = new EventSource("/v1/live");
  source.addEventListener("history", (event) => chart.add(JSON.parse(event.data).seconds));
  source.addEventListener("live", (event) => live(JSON.parse(event.data)));
  source.onopen = () => online(true);
  source.onerror = () => {
    online(false);
    source.close();
    setTimeout(connect, RETRY_MS);
  };
}

function online(on) {
  $("link").textContent = on ? "live" : "no connection, trying again";
  $("link").classList.toggle("on", on);
}

function live(sample) {
  view.skewUs = sample.now_us - Date.now() * 1000;
  $("rate").textContent = sample.rate.toFixed(1);
  $("open").textContent = sample.open ?? "–";
  $("answered").textContent = sample.answered;
  $("attempts").textContent = `of ${sample.attempts} in the last minute`;
  $("asr").textContent = sample.asr === null ? "–" : `${sample.asr.toFixed(0)} %`;
  $("lag").textContent = sample.lag.cdr ?? "–";
  $("lag-more").textContent = sample.lag.analytics === null ? "events not yet in the call log" : `events; analytics ${sample.lag.analytics}`;
  notice(sample.notice);
  chart.add(sample.seconds);
  chart.draw(Math.floor(sample.now_us / 1e6));
  if (!view.filtered && !view.numbers && !view.paged) showCalls(sample.calls);
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text ?? "";
}

// ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────
const TONES = { answered: "good", busy: "warn", no_answer: "warn", cancelled: "warn", rejected: "warn", limited: "warn" };

function state(call) {
  if (call.finality === "open") return el("span", "badge live", call.answer_us ? "in call" : call.ring_us ? "ringing" : "setting up");
  return el("span", `badge ${TONES[call.disposition] ?? "bad"}`, words(call.disposition ?? "ended"));
}

function callRow(call) {
  const trunk = [call.trunk_in, call.trunk_out].filter(Boolean).join(" → ");
  const end = el("td", "soft", call.finality === "open" ? "" : call.final_code ?? "");
  end.title = words(call.hangup_cause).toLowerCase();
  const row = el("tr", "",
    el("td", "soft", clock(call.start_us)), el("td", "", state(call)),
    el("td", "", call.caller_e164 ?? call.caller_raw ?? "–"), el("td", "", call.callee_e164 ?? call.callee_raw ?? "–"),
    el("td", "", trunk || "–"), el("td", "", call.node ?? "–"),
    el("td", "num", call.talk_ms === null ? "" : seconds(call.talk_ms)), end);
  row.tabIndex = 0;
  row.dataset.id = call.call_id;
  return row;
}

function showCalls(rows) {
  // A row that somebody has reached with the keyboard keeps its focus.
  const focused = document.activeElement?.dataset?.id;
  $("calls").replaceChildren(...rows.map(callRow));
  if (focused) [...$("calls").children].find((row) => row.dataset.id === focused)?.focus({ preventScroll: true });
  const empty = view.filtered
    ? "No call matches. Search looks at part of a call id, SIP Call-ID, number, trunk or node."
    : "No calls yet. Send one to the edge: the demo prints a SIPp line to paste, and carriers need their address in edge.trunks.";
  $("calls-empty").hidden = rows.length > 0;
  $("calls-empty").textContent = empty;
  view.rows = rows;
  $("more").hidden = rows.length < 25;
}

function query(more) {
  const params = new URLSearchParams({ limit: more ? 100 : view.filtered ? 50 : 25, numbers: numbers() });
  if ($("q").value.trim()) params.set("q", $("q").value.trim());
  if ($("state").value) params.set("state", $("state").value);
  const last = view.rows.at(-1)?.call_id;
  if (more && last) params.set("before", last);
  return ask(`/v1/calls?${params}`);
}

async function refreshCalls() {
  try {
    const answer = await query(false);
    if (!view.paged) showCalls(answer.calls);
  } catch (error) {
    notice(error.message);
  }
}

async function olderCalls() {
  const answer = await query(true);
  view.paged = true;
  showCalls([...view.rows, ...answer.calls]);
  $("more").hidden = !answer.next;
}

function searched() {
  view.filtered = Boolean($("q").value.trim() || $("state").value);
  view.paged = false;
  refreshCalls();
}

// ── one call ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
async function openCall(id) {
  $("call-title").textContent = id;
  $("facts").replaceChildren();
  $("ladder").replaceChildren();
  $("call-error").hidden = true;
  if (!$("call").open) $("call").showModal();
  try {
    const { call, legs, ladder } = await ask(`/v1/calls/${encodeURIComponent(id)}?numbers=${numbers()}`);
    $("facts").replaceChildren(...facts(call, legs));
    if (ladder.steps.length) $("ladder").replaceChildren(drawLadder(ladder));
    else $("ladder").replaceChildren(el("p", "empty", "The call log holds no events of this call any more; the record above is what they added up to."));
  } catch (error) {
    $("call-error").hidden = false;
    $("call-error").textContent = error.message;
  }
}

function facts(call, legs) {
  const pairs = [
    ["State", call.finality === "open" ? "open" : words(call.disposition)],
    ["From", call.caller_e164 ?? call.caller_raw], ["To", call.callee_e164 ?? call.callee_raw],
    ["Trunk", [call.trunk_in, call.trunk_out].filter(Boolean).join(" → ")], ["Node", call.node],
    ["Began", clock(call.start_us)], ["Ring after", call.pdd_ms === null ? null : seconds(call.pdd_ms)],
    ["Talk", call.talk_ms === null ? null : seconds(call.talk_ms)],
    ["End", [call.final_code, call.final_phrase, call.hangup_cause].filter(Boolean).join(" ")], ["Released by", call.released_by],
    ["Menu", (call.ivr_path ?? []).join?.(" → ")], ["Block", call.block_id], ["Legs", legs.length],
    ["Witnesses", call.witnesses], ["Quality of the record", words(call.quality)], ["Revision", call.revision],
  ];
  return pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => el("div", "", el("dt", "", name), el("dd", "", value)));
}

// ── nodes, blocks, alerts ───────────────────────────────────────────────────────────────────────────────────────────────────
function meter(name, value, max, text) {
  const bar = el("meter");
  Object.assign(bar, { min: 0, max: max || 1, value: value ?? 0 });
  return el("div", "bar", name, bar, el("span", "end", text));
}

function nodeItem(node) {
  const tone = { up: "good", down: "bad", suspect: "bad" }[node.state] ?? "warn";
  const sessions = node.sessions ?? node.calls_open;
  const item = el("div", "item",
    el("div", "row", el("span", "name", node.id), el("span", `badge ${tone}`, words(node.state)),
      el("span", "end", node.heard_age_ms === null ? "not heard" : `heard ${span(node.heard_age_ms * 1000)} ago`)),
    meter("weight", node.weight, 1, `${Math.round(node.weight * 100)} % ${node.weight_author ?? ""}`.trim()),
    meter("sessions", sessions, node.max_sessions ?? Math.max(1, sessions ?? 1), sessions === null ? "–" : node.max_sessions ? `${sessions} / ${node.max_sessions}` : sessions));
  const why = (node.state !== "up" && node.reason) || node.weight_reason;
  if (why) item.append(el("div", "why", why));
  return item;
}

function scopeText(scope) {
  const parts = ["trunk", "account", "source_cidr", "caller", "caller_prefix", "callee", "callee_prefix"];
  return parts.filter((name) => scope[name]).map((name) => `${words(name)} ${scope[name]}`).join(", ");
}

function blockItem(block) {
  const applied = block.applied_by.length ? `in force at ${block.applied_by.map((edge) => edge.id).join(", ")}` : "not confirmed by an edge yet";
  return el("div", "item",
    el("div", "row", el("span", "name", scopeText(block.scope)), block.mode === "shadow" ? el("span", "badge warn", "shadow") : null,
      el("span", "end", `${span(block.expires_us - Date.now() * 1000 - view.skewUs)} left`), undo(block)),
    el("div", "why", [block.reason ?? block.rule, `by ${block.actor ?? block.author}`, applied].filter(Boolean).join(" · ")));
}

// Two clicks: the first one asks. What was asked survives the redraw every second.
const asking = new Map();
function undo(block) {
  const key = `${block.author}/${block.block_id}`;
  const button = el("button", "plain", asking.has(key) ? "Really undo?" : "Undo");
  button.type = "button";
  button.addEventListener("click", async () => {
    if (!asking.has(key)) {
      asking.set(key, setTimeout(() => asking.delete(key), 4000));
      button.textContent = "Really undo?";
      return;
    }
    button.disabled = true;
    try {
      await post(`/v1/blocks/${encodeURIComponent(block.author)}/${encodeURIComponent(block.block_id)}/lift`, { reason: "undone on the page" });
    } catch (error) {
      notice(error.message);
    }
    refresh();
  });
  return button;
}

function alertItem(alert) {
  const measured = alert.observed === null || alert.threshold === null ? null : `${alert.observed} where ${alert.threshold} is allowed`;
  const outcome = alert.block_id ? "blocked" : alert.suppressed ? `no block: ${words(alert.suppressed)}` : "";
  return el("div", "item",
    el("div", "row", el("span", "name", alert.subject), el("span", `badge ${alert.mode === "enforce" ? "bad" : "warn"}`, alert.mode),
      el("span", "end", clock(alert.made_us))),
    el("div", "why", [alert.rule, alert.reason ?? measured, outcome].filter(Boolean).join(" · ")));
}

async function refresh() {
  try {
    const [nodes, blocks, alerts] = await Promise.all([
      ask("/v1/nodes"), ask(`/v1/blocks?limit=50&numbers=${numbers()}`), ask(`/v1/alerts?limit=20&numbers=${numbers()}`),
    ]);
    fill($("nodes"), nodes.nodes.map(nodeItem), "No node has been heard of. Name them in edge.nodes and engine.nodes; they show here within seconds.");
    fill($("blocks"), blocks.blocks.map(blockItem), "Nothing is blocked. Fraud rules and operators put blocks here, each with its reason and its end.");
    fill($("alerts"), alerts.alerts.map(alertItem), "No alerts. Fraud rules ship in shadow: they alert here before they may block.");
    $("blocks-count").textContent = blocks.total > blocks.blocks.length ? `${blocks.blocks.length} of ${blocks.total}` : blocks.total || "";
    if ((view.filtered || view.numbers) && !view.paged) await refreshCalls();
  } catch {
    online(false);
  }
}

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, REFRESH_MS);
}

$("numbers").addEventListener("change", (event) => {
  view.numbers = event.target.checked;
  view.paged = false;
  refreshCalls();
});
$("search").addEventListener("submit", (event) => event.preventDefault());
$("q").addEventListener("input", searched);
$("state").addEventListener("change", searched);
$("more").addEventListener("click", () => olderCalls().catch((error) => notice(error.message)));
$("close").addEventListener("click", () => $("call").close());
$("calls").addEventListener("click", (event) => openCall(event.target.closest("tr").dataset.id));
$("calls").addEventListener("keydown", (event) => event.key === "Enter" && openCall(event.target.closest("tr").dataset.id));
connect();
keepFresh();
