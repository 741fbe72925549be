// One call as a ladder: a lane per party, a row per thing that was said, oldest on top.

import { svg } from "/dom.js";

const LEFT = 74, LANE = 220, TOP = 46, ROW = 30;

export function drawLadder(ladder) {
  const { lanes, steps } = ladder;
  const width = LEFT + LANE * Math.max(1, lanes.length) + 20;
  const height = TOP + ROW * steps.length + 24;
  const x = new Map(lanes.map((lane, i) => [lane.id, LEFT + LANE * i + LANE / 2]));
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "What was said, in order" });
  root.append(arrows());
  for (const lane of lanes) {
    root.append(svg("line", { class: "lane", x1: x.get(lane.id), x2: x.get(lane.id), y1: TOP - 8, y2: height - 8 }));
    root.append(svg("text", { class: "lane-name", x: x.get(lane.id), y: 18, "text-anchor": "middle" }, lane.name));
    root.append(svg("text", { class: "soft", x: x.get(lane.id), y: 32, "text-anchor": "middle" }, lane.kind));
  }
  const begin = steps[0]?.at_us ?? 0;
  steps.forEach((step, i) => root.append(row(step, TOP + ROW * i + 16, x, begin)));
  return root;
}

function row(step, y, x, begin) {
  const group = svg("g");
  const from = x.get(step.from), to = x.get(step.to);
  group.append(svg("text", { class: "soft", x: LEFT - 14, y: y + 4, "text-anchor": "end" }, `+${((step.at_us - begin) / 1e6).toFixed(3)}`));
  if (from === to) {
    plate(group, from + 10, y - 9, step.text, "start");
    group.append(svg("circle", { class: "dot", cx: from, cy: y, r: 4 }), svg("text", { class: step.tone, x: from + 12, y: y + 4 }, step.text));
  } else {
    const stop = to + (to > from ? -6 : 6);
    group.append(svg("line", { class: step.tone, x1: from, x2: stop, y1: y + 6, y2: y + 6, "marker-end": `url(#${step.tone})` }));
    // Over the first gap when the line passes other lanes, so that the text never lies on one.
    const middle = from + Math.sign(to - from) * Math.min(Math.abs(to - from), LANE) / 2;
    plate(group, middle, y - 10, step.text, "middle");
    group.append(svg("text", { class: step.tone, x: middle, y: y + 1, "text-anchor": "middle" }, step.text));
  }
  if (step.why) group.append(svg("title", {}, step.why));
  return group;
}

function plate(group, x, y, text, anchor) {
  const width = text.length * 6.6 + 8;
  group.append(svg("rect", { class: "plate", x: anchor === "middle" ? x - width / 2 : x - 2, y, width, height: 14 }));
}

function arrows() {
  const defs = svg("defs");
  for (const tone of ["request", "progress", "good", "bad", "note"]) {
    const marker = svg("marker", { id: tone, viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" });
    marker.append(svg("path", { class: tone, d: "M1 1L6 4L1 7" }));
    defs.append(marker);
  }
  return defs;
}
