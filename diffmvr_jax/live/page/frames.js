// Takes a message of the server apart, and draws it.

// Returns the header with its pictures, see diffmvr_jax/live/message.py.
export async function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const text = new TextDecoder().decode(new Uint8Array(buffer, 4, length));
  const frame = JSON.parse(text);
  let start = 4 + length;
  const kinds = ["image/jpeg", "image/jpeg", "image/png"];
  const pictures = frame.parts.map((size, i) => {
    const part = new Uint8Array(buffer, start, size);
    start += size;
    return createImageBitmap(new Blob([part], { type: kinds[i] }));
  });
  [frame.picture, frame.patchPicture, frame.overlay] = await Promise.all(pictures);
  return frame;
}

export function release(frame) {
  frame?.picture?.close();
  frame?.patchPicture?.close();
  frame?.overlay?.close();
}

function trace(context, frame) {
  context.beginPath();
  for (const points of frame.outline || []) {
    context.moveTo(points[0] + 0.5, points[1] + 0.5);
    for (let i = 2; i < points.length; i += 2) {
      context.lineTo(points[i] + 0.5, points[i + 1] + 0.5);
    }
    context.closePath();
  }
}

export function draw(frame, source, restored, shown) {
  for (const canvas of [source, restored]) {
    if (canvas.width !== frame.width || canvas.height !== frame.height) {
      canvas.width = frame.width;
      canvas.height = frame.height;
    }
  }
  source.getContext("2d").drawImage(frame.picture, 0, 0);
  const context = restored.getContext("2d");
  context.drawImage(frame.picture, 0, 0);
  if (!frame.patchPicture) return;
  context.drawImage(frame.patchPicture, ...frame.patch);
  if (shown.mask) {
    trace(context, frame);
    context.fillStyle = "rgb(255 0 140 / 55%)";
    context.fill();
  }
  if (shown.confidence && frame.overlay) {
    context.setTransform(...frame.crop);
    context.drawImage(frame.overlay, 0, 0);
    context.resetTransform();
  }
  if (shown.outline) {
    const width = Math.max(2, frame.width / 320);
    trace(context, frame);
    context.lineJoin = "round";
    context.lineWidth = 2 * width;
    context.strokeStyle = "rgb(0 0 0 / 70%)";
    context.stroke();
    context.lineWidth = width;
    context.strokeStyle = "#ffd400";
    context.stroke();
  }
}
