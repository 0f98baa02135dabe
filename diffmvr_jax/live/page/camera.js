// This browser's camera, sent to the server as JPEG files.

import { open } from "./link.js";

const RATE = 25; // frames per second
const QUALITY = 0.85;
const MOST_WAITING = 300_000; // bytes that may wait to be sent

export class Camera {
  // `tell` hears "on", "off", or a sentence about what went wrong.
  constructor(tell) {
    this.tell = tell;
    this.wanted = false;
  }

  async start() {
    if (!navigator.mediaDevices) {
      this.tell("The browser gives no camera to pages over http from another "
        + "machine: start the server with --certificate and --key.");
      return;
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: false,
        video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: RATE },
      });
    } catch (error) {
      this.tell(error.name === "NotAllowedError"
        ? "The browser was not allowed to use the camera."
        : "No camera was found.");
      return;
    }
    this.wanted = true;
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.playsInline = true;
    this.video.srcObject = this.stream;
    await this.video.play();
    this.canvas = document.createElement("canvas");
    this.connect();
  }

  connect() {
    this.socket = open("camera");
    this.socket.onopen = () => {
      this.tell("on");
      this.timer = setInterval(() => this.send(), 1000 / RATE);
    };
    this.socket.onclose = (event) => {
      clearInterval(this.timer);
      if (!this.wanted) return;
      if (event.code >= 4400) {
        this.stop();
        this.tell(event.reason);
        return;
      }
      setTimeout(() => this.wanted && this.connect(), 1000);
    };
  }

  send() {
    const { videoWidth: width, videoHeight: height } = this.video;
    const late = this.socket.bufferedAmount > MOST_WAITING;
    if (!width || late || this.encoding) return;
    this.encoding = true;
    this.canvas.width = width;
    this.canvas.height = height;
    this.canvas.getContext("2d").drawImage(this.video, 0, 0);
    this.canvas.toBlob((blob) => {
      this.encoding = false;
      if (blob && this.socket.readyState === WebSocket.OPEN) this.socket.send(blob);
    }, "image/jpeg", QUALITY);
  }

  stop() {
    this.wanted = false;
    clearInterval(this.timer);
    this.socket?.close();
    for (const track of this.stream?.getTracks() || []) track.stop();
    this.tell("off");
  }
}
