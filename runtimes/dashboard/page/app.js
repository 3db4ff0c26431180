"use strict";
// One WebSocket; what it brings is shown as it comes. Kinds of messages: runtimes/dashboard/messages.py.
const $ = (id) => document.getElementById(id);
const KEPT = 240; // pictures and decisions to click through
const STAGES = { prepare: "#8fa1ad", crop: "#c3ccd2", glance: "#5b9bd5", select: "#b48ad9", focus: "#4fd1a5", classify: "#f2b84b", other: "#3d4c57" };
const pictures = new Map(); // by time: a data URL
const decisions = [];
let about = null, moment = null, picked = null; // picked: the decision looked at; null is live
let focusRate = 0;

function element(tag, parent, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  parent.append(made);
  return made;
}
const cleared = (id) => { const found = $(id); found.replaceChildren(); return found; };
const ms = (value) => value === null ? "never" : `${value.toFixed(0)} ms`;
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
const hue = (label) => Math.round(360 * about.labels.indexOf(label) / about.labels.length);
const shown = () => picked || decisions[decisions.length - 1] || null;

/** Put the patch's box where it lies in a picture of this size; `centre` is y, x in 0..1. */
function place(box, centre, width, height) {
  const scale = about.patch.size / about.patch.short_side * Math.min(width, height);
  const [high, wide] = [scale / height, scale / width];
  const inside = (middle, part) => Math.min(Math.max(middle - part / 2, 0), 1 - part);
  return { left: inside(centre[1], wide), top: inside(centre[0], high), width: wide, height: high };
}

function showPicture() {
  const time = picked ? picked.time : moment && moment.time;
  const image = picked ? pictures.get(picked.time) : moment && pictures.get(moment.time);
  const picture = $("picture"), box = $("box");
  picture.hidden = !image; $("nothing").hidden = Boolean(image);
  $("nothing").textContent = picked ? "this picture is no longer kept" : "no picture";
  $("clock").textContent = time === null ? "" : clock(time);
  $("rest").hidden = !(moment && moment.idle && !picked);
  $("back").hidden = !picked;
  if (!image) { box.hidden = true; return; }
  if (picture.src !== image) picture.src = image;
  const decision = shown(), slot = decision ? decision.selected.findIndex((index) => decision.times[index] === time) : -1;
  const centre = slot >= 0 ? decision.centres[slot] : picked ? null : moment.centre;
  box.hidden = !centre || !picture.naturalWidth;
  if (box.hidden) return;
  box.classList.toggle("sure", slot >= 0);
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  const zoom = Math.min(picture.clientWidth / width, picture.clientHeight / height);
  const part = place(box, centre, width, height);
  box.style.left = `${picture.offsetLeft + (picture.clientWidth - zoom * width) / 2 + part.left * zoom * width}px`;
  box.style.top = `${picture.offsetTop + (picture.clientHeight - zoom * height) / 2 + part.top * zoom * height}px`;
  box.style.width = `${part.width * zoom * width}px`;
  box.style.height = `${part.height * zoom * height}px`;
}

function showSound() {
  const level = moment.level;
  $("level").style.setProperty("--heard", `${level === null ? 0 : Math.max(0, 100 + level / 0.7)}%`);
  $("decibel").textContent = level === null ? "no sound" : `${level.toFixed(0)} dBFS`;
}

function showDevices() {
  const faults = [];
  for (const [id, device] of [["camera", moment.status.picture], ["microphone", moment.status.sound]]) {
    $(id).dataset.state = device.state;
    $(id).querySelector("b").textContent = device.state;
    if (device.fault) faults.push(`${id}: ${device.fault}`);
  }
  $("fault").hidden = faults.length === 0;
  $("fault").textContent = faults.join(" · ");
}

function showAnswer(decision) {
  $("label").textContent = decision.label.replaceAll("_", " ");
  $("score").textContent = `${Math.floor(100 * decision.score)} %`;
  const missing = [decision.seen ? "" : "no picture", decision.heard ? "" : "no sound"].filter(Boolean);
  const how = decision.exited ? "the glance's own answer" : `from ${decision.k} of ${about.snippets} snippets`;
  $("how").textContent = [how, ...missing, decision.idle ? "at rest" : ""].filter(Boolean).join(", ");
  const list = cleared("top");
  for (const { label, score } of decision.top) {
    const item = element("li", list);
    element("span", item, label.replaceAll("_", " ")).title = label;
    element("div", element("div", item, undefined, "track")).style.width = `${100 * score}%`;
    element("span", item, `${(100 * score).toFixed(1)} %`);
  }
}

function showSaliency(decision) {
  const there = decision.times.map((time) => time !== null);
  const values = decision.saliency.filter((_, index) => there[index]);
  const low = Math.min(...values), range = Math.max(...values) - low || 1;
  const bars = cleared("bars");
  decision.saliency.forEach((value, index) => {
    const chosen = decision.selected.includes(index);
    const bar = element("div", bars, undefined, !there[index] ? "missing" : chosen ? "chosen" : "");
    bar.style.height = there[index] ? `${8 + 92 * (value - low) / range}%` : "4%";
    if (there[index]) bar.title = `${clock(decision.times[index])}: ${value.toFixed(2)}`;
  });
  const times = decision.times.filter((time) => time !== null);
  $("span").textContent = `${clock(times[0])} to ${clock(times[times.length - 1])}`;
}

function showChosen(decision) {
  const list = cleared("chosen");
  $("cost").textContent = `${decision.new_focus} new, ${focusRate.toFixed(1)} a second`;
  if (!decision.selected.length) element("p", list, "nothing: the glance was enough, or the budget spent");
  decision.selected.forEach((index, slot) => {
    const time = decision.times[index], figure = element("figure", list);
    const frame = element("div", figure, undefined, "frame");
    const image = pictures.get(time);
    if (image) {
      const fit = element("div", frame, undefined, "fit"), picture = element("img", fit);
      picture.alt = `Frame at ${clock(time)}`;
      picture.onload = () => {
        const part = place(null, decision.centres[slot], picture.naturalWidth, picture.naturalHeight);
        const box = element("div", fit, undefined, "box sure");
        for (const side of ["left", "top", "width", "height"]) box.style[side] = `${100 * part[side]}%`;
      };
      picture.src = image;
    } else element("span", frame, "sound only");
    element("figcaption", figure, time === null ? "" : clock(time));
  });
}

function showWork(decision) {
  const spent = { ...decision.timings_ms }, total = spent.total;
  delete spent.total;
  spent.other = Math.max(0, total - Object.values(spent).reduce((sum, value) => sum + value, 0));
  $("total").textContent = `${total.toFixed(1)} ms, ${(decision.macs / 1e9).toFixed(2)} GMACs`;
  const bar = cleared("stages"), legend = cleared("legend");
  for (const [stage, value] of Object.entries(spent)) {
    const part = element("div", bar), item = element("li", legend);
    part.style.width = `${100 * value / total}%`;
    part.style.background = element("i", item).style.background = STAGES[stage];
    item.append(`${stage} ${value.toFixed(1)}`);
  }
}

function showHealth(decision) {
  const list = cleared("figures"), { counters, skipped } = moment;
  const drops = picked ? decision.dropped : { frames: counters.dropped_frames, sound_ms: counters.dropped_sound_ms };
  const rows = [
    ["age of the answer", ms(decision.age_ms.frame), decision.age_ms.frame > 500],
    ["age of its sound", ms(decision.age_ms.sound), decision.age_ms.sound > 500],
    ["sound behind picture", `${decision.av_offset_ms.toFixed(0)} ms`, Math.abs(decision.av_offset_ms) > 40],
    ["clock drift", `${decision.drift_ppm.toFixed(0)} ppm`],
    ["frames dropped", drops.frames, drops.frames > 0],
    ["sound dropped", `${drops.sound_ms.toFixed(0)} ms`, drops.sound_ms > 0],
    ["left out, late", `${skipped.snippets} snippets`, skipped.snippets > 0],
    ["decisions left out", skipped.hops, skipped.hops > 0],
    ["reconnects", counters.reconnects], ["gaps, xruns", `${counters.gaps}, ${counters.xruns}`],
  ];
  if (moment.degrees !== null) rows.push(["temperature", `${moment.degrees.toFixed(0)} °C`, moment.degrees > 85]);
  for (const [name, value, bad] of rows) {
    const pair = element("div", list);
    element("dt", pair, name);
    element("dd", pair, String(value), bad ? "bad" : "");
  }
}

function addHistory(decision) {
  const list = $("history"), end = list.scrollWidth - list.scrollLeft - list.clientWidth < 30;
  const bar = element("button", list);
  bar.type = "button"; bar.tabIndex = -1; bar.setAttribute("role", "option");
  bar.title = `${clock(decision.time)}: ${decision.label} ${(100 * decision.score).toFixed(0)} %`;
  bar.setAttribute("aria-label", bar.title);
  bar.style.setProperty("--score", decision.score.toFixed(3));
  bar.style.setProperty("--hue", hue(decision.label));
  bar.onclick = () => pick(decision);
  decision.bar = bar;
  decisions.push(decision);
  if (decisions.length > KEPT) { const old = decisions.shift(); old.bar.remove(); if (old === picked) pick(null); }
  if (end && !picked) list.scrollLeft = list.scrollWidth;
}

function pick(decision) {
  if (picked) picked.bar.removeAttribute("aria-selected");
  picked = decision;
  if (picked) { picked.bar.setAttribute("aria-selected", "true"); picked.bar.scrollIntoView({ block: "nearest", inline: "nearest" }); }
  showDecision(); showPicture();
}

function showDecision() {
  const decision = shown();
  if (!decision) return;
  showAnswer(decision); showSaliency(decision); showChosen(decision); showWork(decision);
  if (moment) showHealth(decision);
}

const heard = {
  hello(message) {
    if (about && about.stream !== message.stream) { pictures.clear(); moment = null; }
    about = message; decisions.length = 0; picked = null; cleared("history");
    $("engine").textContent = `${about.bundle} · ${about.backend} ${about.precision}`;
    message.history.forEach(addHistory);
    showDecision();
  },
  moment(message) {
    moment = message;
    if (message.image) pictures.set(message.time, `data:image/jpeg;base64,${message.image}`);
    if (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
    showSound(); showDevices(); showPicture();
  },
  decision(message) {
    addHistory(message);
    const recent = decisions.filter((found) => found.time > message.time - 10);
    focusRate = recent.reduce((sum, found) => sum + found.new_focus, 0) / Math.max(1, message.time - recent[0].time);
    if (!picked) { showDecision(); showPicture(); }
  },
};

function link(state, text) { $("link").dataset.state = state; $("link").querySelector("b").textContent = text; }

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/stream${location.search}`);
  socket.onopen = () => link("running", "connected");
  socket.onmessage = (event) => { const message = JSON.parse(event.data); heard[message.kind](message); };
  socket.onclose = () => { link("lost", "not connected"); setTimeout(connect, 1500); };
}

$("back").onclick = () => pick(null);
$("picture").onload = showPicture;
addEventListener("resize", showPicture);
$("history").onkeydown = (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Escape") pick(null);
  if (!step || !decisions.length) return;
  event.preventDefault();
  const index = (picked ? decisions.indexOf(picked) : decisions.length) + step;
  pick(decisions[index] || null);
};
connect();
