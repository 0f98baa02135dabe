// The page: what is shown, and what its buttons and keys do.

import { Camera } from "./camera.js";
import { draw, release, unpack } from "./frames.js";
import { giveUp, restoreFile } from "./job.js";
import { ask, keepOpen } from "./link.js";

const $ = (id) => document.getElementById(id);
const SILENCE = 2500; // milliseconds without a frame until the page says so

const WORDS = {
  "no face": ["No face", "The picture is shown as it is filmed."],
  free: ["Free", "Nothing covers the face; nothing is changed."],
  covered: ["Covered", "The covered part is restored from what was seen."],
  unseen: ["Guessed", "Covered, and nothing was seen there yet."],
  waiting: ["Waiting", "No frame comes from the source."],
  lost: ["No connection", "The page is trying to reach the server."],
};

const shown = { outline: true, confidence: false, mask: false };
let frame = null;
let came = 0;
let recording = false;

function setState(state) {
  if ($("state").dataset.state === state) return;
  $("state").dataset.state = state;
  [$("word").textContent, $("meaning").textContent] = WORDS[state];
}

function complain(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

function redraw() {
  if (frame) draw(frame, $("source-canvas"), $("restored-canvas"), shown);
}

async function receive(data, socket) {
  if (typeof data === "string") {
    showStatus(JSON.parse(data));
    return;
  }
  const next = await unpack(data);
  release(frame);
  frame = next;
  came = performance.now();
  redraw();
  $("stage").classList.add("filled");
  setState(frame.state);
  $("fps").textContent = frame.fps.toFixed(1);
  $("latency").textContent = frame.latency;
  $("dropped").textContent = frame.dropped;
  $("viewers").textContent = frame.viewers;
  const covered = frame.outline !== undefined;
  $("known").textContent = covered ? `${Math.round(100 * frame.known)} %` : "–";
  setRecording(frame.recording);
  document.body.dataset.frames = frame.number;
  if (socket.readyState === WebSocket.OPEN) socket.send("drawn");
}

function showStatus(status) {
  const options = [...$("source").options].map((option) => option.text);
  if (options.join() !== status.sources.join()) {
    $("source").replaceChildren(...status.sources.map((name) => new Option(name)));
  }
  $("source").selectedIndex = status.chosen;
  $("camera").hidden = !status.browser[status.chosen];
  $("viewers").textContent = status.viewers;
  setRecording(status.recording);
  if (performance.now() - came > SILENCE || !status.arriving) setState("waiting");
}

function tellLink(news) {
  const words = { on: "connected", off: "connection lost" };
  $("link").textContent = words[news] || news;
  $("link").dataset.link = news === "on" ? "on" : "off";
  if (news !== "on") setState("lost");
  else if ($("state").dataset.state === "lost") setState("waiting");
}

const camera = new Camera((news) => {
  complain(news === "on" || news === "off" ? "" : news);
  $("camera").textContent = camera.wanted ? "Stop camera" : "Start camera";
});

function setRecording(on) {
  if (on === recording) return;
  recording = on;
  $("record").setAttribute("aria-pressed", on);
  $("record").textContent = on ? "Stop and save" : "Record";
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function record() {
  try {
    if (recording) {
      const answer = await ask("DELETE", "recording");
      save(await answer.blob(), "recording.mp4");
    } else {
      await ask("POST", "recording");
    }
    setRecording(!recording);
  } catch (error) {
    complain(error.message);
  }
}

function saveStill() {
  if (!frame) return;
  const both = document.createElement("canvas");
  both.width = 2 * frame.width;
  both.height = frame.height;
  const context = both.getContext("2d");
  context.drawImage($("source-canvas"), 0, 0);
  context.drawImage($("restored-canvas"), frame.width, 0);
  both.toBlob((blob) => save(blob, "still.png"), "image/png");
}

function setView(view) {
  $("stage").dataset.view = view;
  $("sides").setAttribute("aria-pressed", view === "sides");
  $("slider").setAttribute("aria-pressed", view === "slider");
}

function toggle(name) {
  shown[name] = !shown[name];
  $(name).setAttribute("aria-pressed", shown[name]);
  $("legend").hidden = !shown.confidence;
  redraw();
}

function setSplit(value) {
  $("divider").value = value;
  $("stage").style.setProperty("--split", `${$("divider").value}%`);
}

function moveSplit(by) {
  setView("slider");
  setSplit(Number($("divider").value) + by);
}

const keys = {
  v: () => setView($("stage").dataset.view === "sides" ? "slider" : "sides"),
  o: () => toggle("outline"),
  c: () => toggle("confidence"),
  m: () => toggle("mask"),
  s: saveStill,
  r: record,
  f: () => (document.fullscreenElement
    ? document.exitFullscreen()
    : $("stage").requestFullscreen()),
  ArrowLeft: () => moveSplit(-2),
  ArrowRight: () => moveSplit(2),
};

document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT"].includes(event.target.tagName);
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (keys[key]) {
    event.preventDefault();
    keys[key]();
  }
});

for (const name of Object.keys(shown)) $(name).onclick = () => toggle(name);
$("sides").onclick = () => setView("sides");
$("slider").onclick = () => setView("slider");
$("divider").oninput = () => setSplit($("divider").value);
$("still").onclick = saveStill;
$("record").onclick = record;
$("camera").onclick = () => (camera.wanted ? camera.stop() : camera.start());
$("source").onchange = async () => {
  if (camera.wanted) camera.stop();
  await ask("POST", `source/${$("source").selectedIndex}`)
    .catch((error) => complain(error.message));
};
$("job-cancel").onclick = giveUp;
$("file").onchange = () => {
  const [file] = $("file").files;
  $("file").value = "";
  if (file) restoreFile(file, complain);
};

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) restoreFile(file, complain);
});

setInterval(() => {
  const quiet = performance.now() - came > SILENCE;
  if (quiet && $("state").dataset.state !== "lost") setState("waiting");
}, 500);
setSplit(50);
keepOpen("watch", receive, tellLink);
