"use strict";
(() => {
  const options = {
    mode: "vega-lite",
    renderer: "svg",
    actions: false,
    logLevel: 1, // errors alone
    ast: true, // expressions are interpreted: the page's policy forbids eval
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  };
  const draw = async (place) => {
    const spec = JSON.parse(document.getElementById(place.dataset.spec).textContent);
    try {
      // Vega names the element that it draws into; the name of the chart stands on the outer one.
      await window.edgekitVegaEmbed(place.firstElementChild, spec, options);
    } catch (error) {
      place.textContent = "This chart could not be drawn; its figures stand in the tables below.";
      console.error(place.dataset.spec, error);
      throw error;
    }
  };
  const places = [...document.querySelectorAll("[data-spec]")];
  Promise.allSettled(places.map(draw)).then((results) => {
    const failed = results.some((result) => result.status === "rejected");
    document.documentElement.dataset.charts = failed ? "failed" : "drawn";
  });
})();
