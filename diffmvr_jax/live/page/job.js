// A file that is uploaded, restored and downloaded.

import { ask, headers } from "./link.js";

const $ = (id) => document.getElementById(id);
let running = null;

function show(word, share) {
  $("job").hidden = false;
  $("job-word").textContent = word;
  if (share === null) $("job-bar").removeAttribute("value");
  else $("job-bar").value = share;
}

function upload(file, job) {
  // fetch does not tell how much has been sent.
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    job.request = request;
    request.open("POST", "restore?wait=false");
    for (const [name, value] of Object.entries(headers)) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => {
      show("Uploading", event.lengthComputable ? event.loaded / event.total : null);
    };
    request.onload = () => {
      const answer = JSON.parse(request.responseText || "{}");
      if (request.status === 202) done(answer.id);
      else fail(new Error(answer.detail || "the server refused it"));
    };
    request.onerror = () => fail(new Error("the server cannot be reached"));
    request.onabort = () => fail(new Error("given up"));
    request.send(file);
  });
}

async function wait(id, job) {
  while (running === job) {
    const progress = await (await ask("GET", `restore/${id}`)).json();
    if (progress.state === "done") return;
    if (progress.state === "failed") throw new Error(progress.complaint);
    const share = progress.total ? progress.frames / progress.total : null;
    show(progress.state === "waiting" ? "Waiting" : "Restoring", share);
    await new Promise((next) => setTimeout(next, 500));
  }
  throw new Error("given up");
}

export async function restoreFile(file, complain) {
  giveUp();
  const job = {};
  running = job;
  $("job-result").hidden = true;
  $("job-cancel").hidden = false;
  try {
    show("Uploading", 0);
    job.id = await upload(file, job);
    await wait(job.id, job);
    const video = await (await ask("GET", `restore/${job.id}/video`)).blob();
    show("Restored", 1);
    $("job-result").href = URL.createObjectURL(video);
    $("job-result").hidden = false;
    $("job-cancel").hidden = true;
  } catch (error) {
    if (running === job) {
      $("job").hidden = true;
      complain(error.message);
    }
  }
}

export function giveUp() {
  const job = running;
  running = null;
  $("job").hidden = true;
  URL.revokeObjectURL($("job-result").href);
  job?.request?.abort();
  if (job?.id) ask("DELETE", `restore/${job.id}`).catch(() => {});
}
