// A formula in a line of text that is wider than the text gets a line of its own, in which it scrolls (see pages.css).
addEventListener("load", () =>
  window.MathJax?.startup.promise.then(() => {
    for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
      const text = formula.closest("p, li, dd, td");
      if (text && formula.getBoundingClientRect().width > text.clientWidth) formula.classList.add("wide");
    }
  }),
);
