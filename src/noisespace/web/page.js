// What gradio lacks: refusals as sentences in the panel, a picture that is pasted anywhere, and a
// word before too large a file is sent. Runs in the page's head; MOST is the server's limit.
(() => {
  const MOST = Number("MOST_BYTES");
  const PANELS = ["#panel", "#compare-panel", "#noise-panel"];

  function say(text) {
    const shown = PANELS.map((id) => document.querySelector(`${id} .panel`)).find(
      (box) => box && box.offsetParent !== null,
    );
    const box = shown || document.querySelector("#panel .panel");
    if (!box) return;
    box.className = "panel error";
    for (const more of [...box.children].slice(1)) more.remove();
    const says = box.querySelector(".says");
    says.setAttribute("role", "alert");
    says.textContent = text;
  }

  const send = window.fetch.bind(window);
  // Not upload_progress: of an upload that was refused it says "not found", three seconds later.
  const ours = /\/gradio_api\/(upload\b|queue\/join|run\/|cancel)/;
  window.fetch = async (asked, ...options) => {
    const url = String(asked?.url ?? asked);
    if (!ours.test(url)) return send(asked, ...options);
    let answer;
    try {
      answer = await send(asked, ...options);
    } catch (error) {
      if (error.name !== "AbortError")
        say("The server does not answer. Is noisespace still running, and the network up?");
      throw error;
    }
    if (!answer.ok) {
      const text = await answer.clone().text();
      let sentence = "";
      try {
        const told = JSON.parse(text);
        sentence = String(told.error ?? told.detail ?? "");
      } catch { /* no JSON: the number is said */ }
      say(sentence || `The server refused this (${answer.status}).`);
    }
    return answer;
  };

  // Too large a file: said before it is sent.
  function refused(files) {
    const large = [...(files ?? [])].find((file) => file.size > MOST);
    if (!large) return false;
    const mib = (bytes) => (bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 2 : 1);
    say(`${large.name} has ${mib(large.size)} MiB; a picture may have ${mib(MOST)} MiB here.`);
    return true;
  }
  function check(event) {
    const files = event.type === "change" ? event.target?.files : event.dataTransfer?.files;
    if (event.type === "change" && event.target?.type !== "file") return;
    if (!refused(files)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.type === "change") event.target.value = "";
  }
  window.addEventListener("change", check, true);
  window.addEventListener("drop", check, true);

  const wait = (ms) => new Promise((later) => setTimeout(later, ms));

  // One session a tab, found again by a reload. A lock that lives as long as the tab tells whether
  // another one has it: a new tab takes over what a closed one left, who acted last first.
  const TAB = "noisespace-visitor", MOST_TABS = 8;
  // An entry a visitor: tabs write at the same time, and one list of all would lose what another
  // one has just written.
  const nameOf = (visitor) => `${TAB} ${visitor}`;
  function entryOf(visitor) { // {at, values}
    try {
      return JSON.parse(localStorage.getItem(nameOf(visitor))) ?? {};
    } catch {
      return {};
    }
  }
  function visitors() { // who acted last first
    const names = Object.keys(localStorage).filter((name) => name.startsWith(`${TAB} `));
    const found = names.map((name) => name.slice(TAB.length + 1));
    const at = new Map(found.map((one) => [one, Number(entryOf(one).at) || 0]));
    return found.sort((one, other) => at.get(other) - at.get(one));
  }
  function remember(visitor, values) {
    localStorage.setItem(nameOf(visitor), JSON.stringify({ at: Date.now(), values }));
    for (const one of visitors().slice(MOST_TABS)) localStorage.removeItem(nameOf(one));
  }
  const valuesOf = (visitor) => entryOf(visitor).values;
  function locked(visitor) {
    // No secure place, no locks: nothing tells a closed tab, so that only this one's own is found.
    if (!navigator.locks) return Promise.resolve(sessionStorage.getItem(TAB) === visitor);
    return new Promise((told) => {
      const hold = (lock) => {
        told(Boolean(lock));
        return lock ? new Promise(() => {}) : undefined;
      };
      navigator.locks.request(nameOf(visitor), { ifAvailable: true }, hold).catch(() => told(true));
    });
  }
  window.noisespaceTab = {
    async claim() {
      const own = sessionStorage.getItem(TAB);
      for (const visitor of own ? [own] : visitors()) {
        let free = await locked(visitor);
        for (let tries = 0; own && !free && tries < 10; tries += 1) { // the page before the reload
          await wait(100);
          free = await locked(visitor);
        }
        if (free) return { visitor, values: valuesOf(visitor) };
      }
      return { visitor: "" };
    },
    hold(visitor) {
      if (!visitor) return;
      sessionStorage.setItem(TAB, visitor);
      remember(visitor, valuesOf(visitor));
      locked(visitor);
    },
    keep(visitor, values) { // what is set, as it is set, once it has said what was there before
      if (window.noisespace && visitor) remember(visitor, values);
    },
  };

  // A slider that is moved by keys is let go with the key: gradio hears of pointers alone.
  window.addEventListener("keyup", (event) => {
    const moved = /^(Arrow|Page|Home|End)/.test(event.key) && event.target.type === "range";
    if (moved) event.target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
  });

  // A picture pasted anywhere on the page is the photo.
  async function input() {
    const remove = () =>
      [...document.querySelectorAll("#photo button")].find((button) =>
        /remove|clear/i.test(button.getAttribute("aria-label") ?? ""),
      );
    const find = () => document.querySelector("#photo input[type=file]");
    for (let tries = 0; tries < 50; tries += 1) {
      const found = find();
      if (found) return found;
      if (tries === 0) remove()?.click(); // a photo is there: this one takes its place
      await wait(100);
    }
    return null;
  }
  window.addEventListener("paste", async (event) => {
    const text = event.clipboardData?.getData("text/plain");
    if (text && event.target.matches?.("input, textarea")) return; // tables come as pictures too
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (!file) return; // text goes where the cursor is
    event.preventDefault();
    if (refused([file])) return;
    document.querySelector("[role=tab]")?.click();
    const into = await input();
    if (!into) return say("The picture could not be pasted: drop it, or choose its file.");
    const carried = new DataTransfer();
    carried.items.add(file);
    into.files = carried.files;
    into.dispatchEvent(new Event("change", { bubbles: true }));
  });
})();
