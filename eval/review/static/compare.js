// What is chosen is shown at once; without this script the button does it.
const form = document.querySelector("form[data-submits-itself]");
form.addEventListener("change", () => form.requestSubmit());
