// uPlot takes the browser's language as it is. Chromium names one that is none where the system's locale is C or POSIX.
try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en-US" });
}
