// How the page talks to the server: the token, requests, and the WebSockets.

const KEY = "diffmvr-token";
const PAUSES = [500, 1000, 2000, 5000]; // milliseconds before another try
const REFUSED = 4401;

// The token follows # in the address, which no server logs. It is taken out of
// sight at once, and forgotten with the tab.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", location.pathname);
}
const token = sessionStorage.getItem(KEY);

export const headers = token ? { Authorization: `Bearer ${token}` } : {};

const protocols = token ? ["diffmvr", `token.${token}`] : ["diffmvr"];

// Sends a request; throws an error with the server's own words.
export async function ask(method, path, body) {
  const answer = await fetch(path, { method, headers, body });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail || `the server says ${answer.status}`);
  }
  return answer;
}

export function open(path) {
  const address = new URL(path, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address, protocols);
  socket.binaryType = "arraybuffer";
  return socket;
}

// Keeps a socket open, whatever happens; `tell` hears "on", "off" or the
// reason why it will not be tried again.
export function keepOpen(path, receive, tell) {
  let failures = 0;
  const start = () => {
    const socket = open(path);
    socket.onmessage = (event) => {
      failures = 0;
      tell("on");
      receive(event.data, socket);
    };
    socket.onclose = (event) => {
      if (event.code === REFUSED) {
        tell(event.reason);
        return;
      }
      tell("off");
      const pause = PAUSES[Math.min(failures, PAUSES.length - 1)];
      failures += 1;
      setTimeout(start, pause);
    };
  };
  start();
}
