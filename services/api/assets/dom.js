// Small helpers. All text goes in as text nodes: what came over the wire is never markup.

export const $ = (id) => document.getElementById(id);

export function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

export function svg(tag, attributes = {}, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// An answer, or an Error with the server's own words. Signed out: reload, the server then shows its form.
export async function ask(path, options) {
  const response = await fetch(path, options);
  if (response.status === 401) location.reload();
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error || `${response.status} ${response.statusText}`);
  return body;
}

export const post = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const clock = (us) => (us ? new Date(us / 1000).toLocaleTimeString([], { hour12: false }) : "–");

export const seconds = (ms) => (ms === null || ms === undefined ? "–" : `${(ms / 1000).toFixed(1)} s`);

export function span(us) {
  const s = Math.max(0, Math.round(us / 1e6));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.floor(s / 60)} min`;
  return s < 172800 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : `${Math.floor(s / 86400)} d`;
}

export const words = (name) => String(name ?? "").replaceAll("_", " ");

// Replaces the content, or says what to do when there is none.
export function fill(box, items, empty) {
  box.replaceChildren(...(items.length ? items : [el("p", "empty", empty)]));
}
