// Attempts and answers per second over the last five minutes, as two lines.

import { svg } from "/dom.js";

const SPAN_S = 300;
const HEIGHT = 170, LEFT = 34, BOTTOM = 20, TOP = 8;

export class Chart {
  constructor(box) {
    this.box = box;
    this.bins = new Map();
  }

  // Each second replaces what was known of it: calls arrive late and change.
  add(list) {
    for (const second of list) this.bins.set(second.at, second);
  }

  draw(nowS) {
    for (const at of this.bins.keys()) if (at < nowS - SPAN_S - 5) this.bins.delete(at);
    const attempts = this.smooth(nowS, "attempts"), answered = this.smooth(nowS, "answered");
    // Drawn in the pixels that there are, so that the letters keep their size on a phone.
    const width = Math.max(240, this.box.clientWidth);
    const top = nice(Math.max(1, ...attempts));
    const x = (i) => LEFT + ((width - LEFT - 4) * i) / SPAN_S;
    const y = (v) => TOP + (HEIGHT - BOTTOM - TOP) * (1 - v / top);
    const line = (values) => values.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join("");
    const root = svg("svg", { width, height: HEIGHT, role: "img", "aria-label": `Calls per second, now ${attempts.at(-1).toFixed(1)}` });
    for (const share of [0, 0.5, 1]) {
      root.append(svg("line", { class: "grid", x1: LEFT, x2: width, y1: y(top * share), y2: y(top * share) }));
      root.append(svg("text", { x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end" }, String(top * share)));
    }
    for (let minute = 0; minute <= 5; minute += 1) {
      if (minute % 2 && width < 420) continue;
      const anchor = minute === 0 ? "end" : minute === 5 ? "start" : "middle";
      root.append(svg("text", { x: x(SPAN_S - minute * 60), y: HEIGHT - 4, "text-anchor": anchor }, minute ? `−${minute} min` : "now"));
    }
    root.append(svg("path", { class: "area", d: `${line(attempts)}L${x(SPAN_S)} ${y(0)}L${x(0)} ${y(0)}Z` }));
    root.append(svg("path", { class: "a", d: line(attempts) }), svg("path", { class: "b", d: line(answered) }));
    this.box.replaceChildren(root);
  }

  // The mean of three seconds; the running second is not whole yet.
  smooth(nowS, field) {
    const at = (s) => this.bins.get(s)?.[field] ?? 0;
    return Array.from({ length: SPAN_S + 1 }, (_, i) => {
      const s = nowS - 1 - SPAN_S + i;
      return (at(s) + at(s - 1) + at(s - 2)) / 3;
    });
  }
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [2, 4, 6, 10].map((step) => step * power).find((step) => step >= value) ?? 10 * power;
}
