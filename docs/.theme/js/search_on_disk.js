"use strict";
// A page at file:// may start no worker and fetch nothing. There the page itself searches, and speaks to the
// search plugin (search/main.js) as its worker does.
if (location.protocol === "file:") {
  const load = address => new Promise((done, failed) => {
    document.head.append(Object.assign(document.createElement("script"), { src: address, onload: done, onerror: failed }));
  });
  globalThis.Worker = class {
    constructor(address) {
      this.folder = address.replace(/[^/]*$/, "");
    }

    postMessage({ init, query }) {
      if (init) this.begin();
      else this.onmessage({ data: { results: this.found(query) } });
    }

    async begin() {
      await Promise.all(["lunr.js", "search_index.js"].map(name => load(this.folder + name)));
      const { config, docs } = globalThis.searchIndex;
      globalThis.lunr.tokenizer.separator = new RegExp(config.separator);
      this.pages = new Map(docs.map(page => [page.location, page]));
      this.index = globalThis.lunr(function () {
        this.field("title");
        this.field("text");
        this.ref("location");
        docs.forEach(page => this.add(page));
      });
      this.onmessage({ data: { config } });
      this.onmessage({ data: { allowSearch: true } });
    }

    found(query) {
      const pages = this.index.search(query).map(one => this.pages.get(one.ref));
      return pages.map(page => ({ ...page, summary: page.text.slice(0, 200) }));
    }
  };
}
